// SPDX-License-Identifier: Apache-2.0
// Lines edited with libedit. libedit asks for each character, and there the reactor runs.
#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "app/io_lines.h"
#include "app/io_shell.h"
#include "base/assert.h"

namespace zbdkit::app {
namespace {

constexpr int kHistoryLines = 1000;

struct EndEditing {
    void operator()(EditLine* editor) const { ::el_end(editor); }
};
struct EndHistory {
    void operator()(History* history) const { ::history_end(history); }
};

/// What all names that start with `word` have in common behind it, and a blank if it is one name.
std::string completion_of(std::string_view word) {
    std::vector<std::string_view> names;
    for (const IoCommand* command : io_commands()) {
        if (command->name.starts_with(word)) names.push_back(command->name);
    }
    if (names.empty()) return "";
    std::string_view common = names.front();
    for (const std::string_view name : names) {
        while (!name.starts_with(common)) common.remove_suffix(1);
    }
    const std::string rest(common.substr(word.size()));
    return names.size() == 1 ? rest + " " : rest;
}

class EditedLines final : public LineSource {
  public:
    explicit EditedLines(Reactor& reactor)
        : reactor_(reactor),
          keyboard_(reactor, STDIN_FILENO),
          history_file_(io_history_path()),
          history_(::history_init()),
          editor_(::el_init("zbdkit", stdin, stdout, stderr)) {}

    /// @return whether the terminal can be used
    [[nodiscard]] bool prepare();

    std::optional<std::string> next() override;

  private:
    static EditedLines& self_of(EditLine* editor) {
        void* self = nullptr;
        ::el_get(editor, EL_CLIENTDATA, &self);
        ZBDKIT_ASSERT(self != nullptr);
        return *static_cast<EditedLines*>(self);
    }
    static const char* prompt(EditLine* /*editor*/) { return kIoPrompt; }
    static int get_character(EditLine* editor, wchar_t* character) {
        return self_of(editor).read_character(*character);
    }
    static unsigned char complete(EditLine* editor, int /*key*/);

    int read_character(wchar_t& character);
    void remember(const char* line);

    Reactor& reactor_;
    ReadinessWaiter keyboard_;
    std::string history_file_;
    std::unique_ptr<History, EndHistory> history_;
    std::unique_ptr<EditLine, EndEditing> editor_;
};

bool EditedLines::prepare() {
    if (!editor_ || !history_) return false;
    HistEvent event{};
    ::history(history_.get(), &event, H_SETSIZE, kHistoryLines);
    ::history(history_.get(), &event, H_SETUNIQUE, 1);
    if (!history_file_.empty()) {
        ::history(history_.get(), &event, H_LOAD, history_file_.c_str());
    }
    EditLine* editor = editor_.get();
    ::el_set(editor, EL_CLIENTDATA, this);
    ::el_set(editor, EL_SIGNAL, 1);  // the terminal is as before after Ctrl-C
    ::el_set(editor, EL_PROMPT, prompt);
    ::el_set(editor, EL_EDITOR, "emacs");
    ::el_set(editor, EL_HIST, ::history, history_.get());
    ::el_set(editor, EL_GETCFN, get_character);
    // The wide form takes the texts as they are; the other one makes copies that it never frees.
    ::el_wset(editor, EL_ADDFN, L"complete-command", L"completes a command's name", complete);
    ::el_set(editor, EL_BIND, "^I", "complete-command", nullptr);
    ::el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    return true;
}

std::optional<std::string> EditedLines::next() {
    std::fflush(stdout);
    int length = 0;
    const char* line = ::el_gets(editor_.get(), &length);
    if (line == nullptr || length <= 0) {
        std::fputs("\n", stdout);  // so that the shell's prompt gets a line of its own
        return std::nullopt;
    }
    std::string text(line, static_cast<std::size_t>(length));
    if (text.ends_with('\n')) text.pop_back();
    if (!text.empty()) remember(line);
    return text;
}

int EditedLines::read_character(wchar_t& character) {
    std::mbstate_t state{};
    while (true) {
        std::fflush(stdout);
        wait_for_input(reactor_, keyboard_);
        char byte = 0;
        const ssize_t length = ::read(STDIN_FILENO, &byte, 1);
        if (length <= 0) return static_cast<int>(length);
        const std::size_t used = std::mbrtowc(&character, &byte, 1, &state);
        constexpr std::size_t kMoreIsNeeded = static_cast<std::size_t>(-2);
        constexpr std::size_t kNoCharacter = static_cast<std::size_t>(-1);
        if (used == kMoreIsNeeded) continue;
        if (used == kNoCharacter) character = L'?';
        return 1;
    }
}

unsigned char EditedLines::complete(EditLine* editor, int /*key*/) {
    const LineInfo* line = ::el_line(editor);
    const std::string_view typed(line->buffer,
                                 static_cast<std::size_t>(line->cursor - line->buffer));
    if (typed.find(' ') != std::string_view::npos) return CC_REFRESH_BEEP;
    const std::string rest = completion_of(typed);
    if (rest.empty() || ::el_insertstr(editor, rest.c_str()) != 0) return CC_REFRESH_BEEP;
    return CC_REFRESH;
}

void EditedLines::remember(const char* line) {
    HistEvent event{};
    ::history(history_.get(), &event, H_ENTER, line);
    if (history_file_.empty()) return;
    std::error_code ignored;  // without a history file the shell works as well
    std::filesystem::create_directories(std::filesystem::path(history_file_).parent_path(),
                                        ignored);
    ::history(history_.get(), &event, H_SAVE, history_file_.c_str());
}

}  // namespace

std::unique_ptr<LineSource> make_edited_lines(Reactor& reactor) {
    if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0) return nullptr;
    std::setlocale(LC_CTYPE, "");  // file names may have letters beyond ASCII
    auto lines = std::make_unique<EditedLines>(reactor);
    if (!lines->prepare()) return nullptr;
    return lines;
}

std::string io_history_path() {
    const char* state = std::getenv("XDG_STATE_HOME");
    if (state != nullptr && *state != '\0') return std::string(state) + "/zbdkit/io_history";
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home == '\0') return "";
    return std::string(home) + "/.zbdkit_io_history";
}

}  // namespace zbdkit::app
