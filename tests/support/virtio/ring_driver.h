// SPDX-License-Identifier: Apache-2.0
// The driver's side of a virtqueue, for tests: lays out a ring in a DriverMemory, makes chains
// available, decides on kicks, collects what was used. Written from the specification, not from
// the device's side; it trusts the device no more than the device trusts it and aborts when the
// device breaks a rule. One thread; the device may run in another thread or process.
//
//     DriverMemory memory(kMiB);
//     auto driver = RingDriver::make(memory, {.features = {.event_idx = true}, .size = 64});
//     auto queue = *VirtQueue::make(driver->device_setup(memory.guest_memory(), 128));
//     const std::uint64_t header = memory.allocate(16), status = memory.allocate(1);
//     driver->add({{header, 16, false}, {status, 1, true}}, ChainForm::direct);
//     driver->publish();
//     if (driver->take_kick()) ...                 // then the device pops, pushes, notifies
//     std::optional<UsedChain> used = driver->take_used();
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tests/support/virtio/driver_memory.h"
#include "virtio/virt_queue.h"

namespace zbdkit::test {

/// One buffer of a chain. Readable ones come first.
struct DriverBuffer {
    std::uint64_t guest_address = 0;
    std::uint32_t length = 0;
    bool is_device_writable = false;
};

/// How a chain is written down.
enum class ChainForm : std::uint8_t {
    direct,    ///< every buffer a descriptor of the ring
    indirect,  ///< one ring descriptor that points to a table
    mixed,     ///< split only: the first buffer direct, the others in a table
};

/// A chain that came back.
struct UsedChain {
    std::uint16_t id = 0;       ///< what add() returned
    std::uint32_t written = 0;  ///< as the device says

    bool operator==(const UsedChain&) const = default;
};

class RingDriver {
  public:
    struct Options {
        RingFeatures features;
        std::uint32_t size = 64;
        /// Split: where both indices start (a ring that has been running for long). Packed: 0.
        std::uint16_t first_index = 0;
    };

    /// Takes memory for a ring of the kind that `options.features.packed` says.
    [[nodiscard]] static std::unique_ptr<RingDriver> make(DriverMemory& memory,
                                                          const Options& options);
    RingDriver(const RingDriver&) = delete;
    RingDriver& operator=(const RingDriver&) = delete;
    virtual ~RingDriver() = default;

    /// Where the ring is, in guest addresses.
    [[nodiscard]] const RingAddresses& guest_layout() const { return layout_; }
    /// Where the ring is, as SET_VRING_ADDR says it: in the front end's addresses.
    [[nodiscard]] RingAddresses addresses() const;
    /// What SET_VRING_BASE says for a ring that was just made.
    [[nodiscard]] RingBase first_base() const;
    /// All that VirtQueue::make needs.
    [[nodiscard]] VirtQueue::Setup device_setup(std::shared_ptr<const GuestMemory> memory,
                                                std::uint32_t max_chain) const;

    [[nodiscard]] const Options& options() const { return options_; }
    [[nodiscard]] DriverMemory& memory() { return memory_; }
    /// Ring descriptors that are not in use.
    [[nodiscard]] virtual std::uint32_t free_descriptors() const = 0;
    /// Chains that were added and did not come back.
    [[nodiscard]] std::uint32_t in_flight() const { return in_flight_; }

    /// Writes a chain down. The device sees it after publish().
    /// @param buffers  at least one; two for ChainForm::mixed
    /// @return its id, or nothing if the ring has too few free descriptors
    std::optional<std::uint16_t> add(std::span<const DriverBuffer> buffers, ChainForm form);
    std::optional<std::uint16_t> add(std::initializer_list<DriverBuffer> buffers, ChainForm form) {
        return add(std::span(buffers.begin(), buffers.size()), form);
    }
    /// Makes everything added since the last time available.
    virtual void publish() = 0;
    /// @return whether the device wants a kick for what was published since this was asked last
    [[nodiscard]] virtual bool take_kick() = 0;

    /// Takes the next chain back, if one was used.
    [[nodiscard]] virtual std::optional<UsedChain> take_used() = 0;
    /// Asks for a notification at the next used chain, or after `more` further ones (event index
    /// only).
    /// @return true if chains were used meanwhile, so that take_used() must be tried
    virtual bool enable_notifications(std::uint16_t more = 0) = 0;
    virtual void disable_notifications() = 0;

  protected:
    RingDriver(DriverMemory& memory, const Options& options);

    /// Writes a table for `buffers`, from the table memory of a slot.
    /// @return the descriptor that points to it
    [[nodiscard]] Descriptor write_table(std::uint32_t slot, std::span<const DriverBuffer> buffers);
    [[nodiscard]] virtual std::optional<std::uint16_t> add_descriptors(
        std::span<const DriverBuffer> direct, std::span<const DriverBuffer> in_table) = 0;
    [[nodiscard]] std::byte* host(std::uint64_t guest_address) const;

    DriverMemory& memory_;
    const Options options_;
    RingAddresses layout_;
    std::uint32_t in_flight_ = 0;
    std::uint32_t unkicked_ = 0;  ///< published since take_kick(), split: chains, packed: slots

  private:
    struct Table {
        std::uint64_t guest_address = 0;
        std::size_t entries = 0;
    };
    std::vector<Table> tables_;  ///< by slot; grown when a longer one is needed
};

}  // namespace zbdkit::test
