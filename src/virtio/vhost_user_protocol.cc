// SPDX-License-Identifier: Apache-2.0
#include "virtio/vhost_user_protocol.h"

namespace zbdkit::vhost_user {

const char* request_name(std::uint32_t request) {
    switch (RequestCode{request}) {
        case RequestCode::get_features: return "GET_FEATURES";
        case RequestCode::set_features: return "SET_FEATURES";
        case RequestCode::set_owner: return "SET_OWNER";
        case RequestCode::reset_owner: return "RESET_OWNER";
        case RequestCode::set_mem_table: return "SET_MEM_TABLE";
        case RequestCode::set_log_base: return "SET_LOG_BASE";
        case RequestCode::set_log_fd: return "SET_LOG_FD";
        case RequestCode::set_vring_num: return "SET_VRING_NUM";
        case RequestCode::set_vring_addr: return "SET_VRING_ADDR";
        case RequestCode::set_vring_base: return "SET_VRING_BASE";
        case RequestCode::get_vring_base: return "GET_VRING_BASE";
        case RequestCode::set_vring_kick: return "SET_VRING_KICK";
        case RequestCode::set_vring_call: return "SET_VRING_CALL";
        case RequestCode::set_vring_err: return "SET_VRING_ERR";
        case RequestCode::get_protocol_features: return "GET_PROTOCOL_FEATURES";
        case RequestCode::set_protocol_features: return "SET_PROTOCOL_FEATURES";
        case RequestCode::get_queue_num: return "GET_QUEUE_NUM";
        case RequestCode::set_vring_enable: return "SET_VRING_ENABLE";
        case RequestCode::set_backend_req_fd: return "SET_BACKEND_REQ_FD";
        case RequestCode::get_config: return "GET_CONFIG";
        case RequestCode::set_config: return "SET_CONFIG";
        case RequestCode::get_inflight_fd: return "GET_INFLIGHT_FD";
        case RequestCode::set_inflight_fd: return "SET_INFLIGHT_FD";
        case RequestCode::reset_device: return "RESET_DEVICE";
        case RequestCode::get_max_mem_slots: return "GET_MAX_MEM_SLOTS";
        case RequestCode::add_mem_reg: return "ADD_MEM_REG";
        case RequestCode::rem_mem_reg: return "REM_MEM_REG";
    }
    return "request";
}

}  // namespace zbdkit::vhost_user
