// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd_name.h"

#include <gtest/gtest.h>

namespace zbdkit {
namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

std::string refusal(std::string_view name) {
    const Outcome<OptionValues> options = parse_rbd_name(name);
    return options ? "accepted" : options.error().message;
}

TEST(RbdName, PoolAndImage_AreOptionsOfTheDriver) {
    const Outcome<OptionValues> options = parse_rbd_name("rbd:fast/disk");

    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->items(), (Items{{"driver", "rbd"}, {"pool", "fast"}, {"image", "disk"}}));
}

TEST(RbdName, AllParts_AreTaken) {
    const Outcome<OptionValues> options =
        parse_rbd_name("rbd:fast/blue/disk@monday:id=zones:conf=/etc/ceph/b.conf");

    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->items(), (Items{{"driver", "rbd"},
                                       {"pool", "fast"},
                                       {"namespace", "blue"},
                                       {"image", "disk"},
                                       {"snapshot", "monday"},
                                       {"user", "zones"},
                                       {"conf", "/etc/ceph/b.conf"}}));
}

TEST(RbdName, Backslash_TakesTheNextCharacterAsItIs) {
    const Outcome<OptionValues> options = parse_rbd_name(R"(rbd:a\/b/c\@d\:e\\f:conf=/a\:b.conf)");

    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->text("pool"), "a/b");
    EXPECT_EQ(options->text("image"), "c@d:e\\f");
    EXPECT_EQ(options->text("conf"), "/a:b.conf");
}

TEST(RbdName, PathInConf_MayHaveSlashesAndEqualsSigns) {
    const Outcome<OptionValues> options = parse_rbd_name("rbd:p/i:conf=/x/y=z@1");

    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->text("conf"), "/x/y=z@1");
}

TEST(RbdName, NoImage_IsRefused) {
    EXPECT_EQ(refusal("rbd:pool"),
              "'rbd:pool': no image is named: expected "
              "rbd:POOL/IMAGE[@SNAPSHOT][:id=USER][:conf=PATH]");
    EXPECT_NE(refusal("rbd:"), "accepted");
    EXPECT_NE(refusal("rbd:@"), "accepted");
}

TEST(RbdName, EmptyPart_IsRefused) {
    EXPECT_NE(refusal("rbd:/image"), "accepted");
    EXPECT_NE(refusal("rbd:pool/"), "accepted");
    EXPECT_NE(refusal("rbd:pool//image"), "accepted");
    EXPECT_NE(refusal("rbd:pool/image@"), "accepted");
    EXPECT_NE(refusal("rbd:pool/image:"), "accepted");
    EXPECT_NE(refusal("rbd:pool/image:id="), "accepted");
}

TEST(RbdName, TooManyParts_AreRefused) { EXPECT_NE(refusal("rbd:a/b/c/d"), "accepted"); }

TEST(RbdName, UnknownOption_IsNamed) {
    EXPECT_EQ(refusal("rbd:p/i:mon_host=1.2.3.4"),
              "'rbd:p/i:mon_host=1.2.3.4': option 'mon_host' is not known here: expected "
              "rbd:POOL/IMAGE[@SNAPSHOT][:id=USER][:conf=PATH]");
}

TEST(RbdName, OptionTwice_IsRefused) { EXPECT_NE(refusal("rbd:p/i:id=a:id=b"), "accepted"); }

TEST(RbdName, OnlyTheScheme_MakesItOne) {
    EXPECT_TRUE(is_rbd_name("rbd:pool/image"));
    EXPECT_FALSE(is_rbd_name("./rbd:pool/image"));
    EXPECT_FALSE(is_rbd_name("rbd"));
}

TEST(RbdName, OfOptions_IsWhatAPersonWouldWrite) {
    OptionValues options("driver 'rbd'");
    options.replace("pool", "fast");
    options.replace("namespace", "blue");
    options.replace("image", "disk");
    options.replace("snapshot", "monday");

    EXPECT_EQ(rbd_name_of(options), "rbd:fast/blue/disk@monday");
}

}  // namespace
}  // namespace zbdkit
