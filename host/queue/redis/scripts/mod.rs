//! The Lua scripts in this folder: each makes one move or answers one question. A script's head names its keys,
//! arguments and answer.

use std::sync::LazyLock;

use super::pool::Script;

macro_rules! scripts {
    ($($name:ident = $($file:literal),+;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)*
    };
}

scripts! {
    ADD_UP = "add_up.lua";
    ADMIT = "caps.lua", "queue_up.lua", "admit.lua";
    ADOPT = "adopt.lua";
    BATCH_MARK = "batch_mark.lua";
    CANCEL = "cancel.lua";
    CANCELLED = "cancelled.lua";
    CLAIM_DUE = "claim_due.lua";
    CONTEND = "contend.lua";
    COUNTS = "counts.lua";
    DEAD = "dead.lua";
    DROP_CLAIMED = "drop_claimed.lua";
    FAILED_LEN = "failed_len.lua";
    FAILED_PAGE = "failed_page.lua";
    FETCH = "fetch.lua";
    FIRE = "fire.lua";
    HAND_ON = "hand_on.lua";
    JOBS_PAGE = "jobs_page.lua";
    LANES_PAGE = "lanes_page.lua";
    LEAVE = "leave.lua";
    MOVE_BORDER = "move_border.lua";
    OURS = "ours.lua";
    OUTBOX = "outbox.lua";
    PAST = "past.lua";
    PEEK = "peek.lua";
    PIECE = "piece.lua";
    PROMOTE = "promote.lua";
    PURGE = "purge.lua";
    PUSH_DELAYED = "push_delayed.lua";
    RECORD = "record.lua";
    RENEW = "renew.lua";
    REPLY = "reply.lua";
    RETAIN = "retain.lua";
    SERVE = "caps.lua", "serve.lua";
    SETTLE = "queue_up.lua", "settle.lua";
    STATE_GET = "state_get.lua";
    STATE_LIST = "state_list.lua";
    STATE_WRITE = "state_write.lua";
    SUCCEEDED = "succeeded.lua";
    SUCCESSES = "successes.lua";
    SWEEP = "caps.lua", "sweep.lua";
    TAKE_FAILED = "take_failed.lua";
    UNCANCEL = "uncancel.lua";
}
