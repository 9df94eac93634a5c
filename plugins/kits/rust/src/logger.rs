//! The `log` facade, spoken to the host.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::raw::wasi::logging::logging;

struct Logger {
    own: &'static str,
}

/// Hears from now on what the handler's crate, `own`, logs, and of others what is not mere detail: an attempt's lines
/// are counted, and a library's would use them up.
///
/// A handler that nothing logs in is none the larger for it: the linker sees that the logger is never asked for.
pub fn listen(own: &'static str) {
    // It fails where there is one already, and in a fresh instance there is none.
    if log::set_boxed_logger(Box::new(Logger { own })).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info || metadata.target().split("::").next() == Some(self.own)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => logging::Level::Error,
            Level::Warn => logging::Level::Warn,
            Level::Info => logging::Level::Info,
            Level::Debug => logging::Level::Debug,
            Level::Trace => logging::Level::Trace,
        };
        logging::log(level, record.target(), &record.args().to_string());
    }

    fn flush(&self) {}
}
