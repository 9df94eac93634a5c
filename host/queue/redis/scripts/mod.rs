//! The Lua scripts in this folder: each makes one move or answers one question. A script's head names its keys,
//! arguments and answer.

use std::sync::LazyLock;

use super::pool::Script;

macro_rules! scripts {
    ($($name:ident = $file:literal)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)*
    };
}

scripts! {
    ADOPT = "adopt.lua"
    CLAIM_DUE = "claim_due.lua"
    COUNTS = "counts.lua"
    DEAD = "dead.lua"
    DROP_CLAIMED = "drop_claimed.lua"
    FAILED_LEN = "failed_len.lua"
    FAILED_PAGE = "failed_page.lua"
    FETCH = "fetch.lua"
    LEAVE = "leave.lua"
    MOVE_BORDER = "move_border.lua"
    OURS = "ours.lua"
    PIECE = "piece.lua"
    PROMOTE = "promote.lua"
    PURGE = "purge.lua"
    PUSH_DELAYED = "push_delayed.lua"
    RENEW = "renew.lua"
    RETAIN = "retain.lua"
    SETTLE = "settle.lua"
    STATE_GET = "state_get.lua"
    STATE_LIST = "state_list.lua"
    STATE_WRITE = "state_write.lua"
    TAKE_FAILED = "take_failed.lua"
}
