//! The signals that `STOPSIGNAL` can name.

use launchway_diagnostics::{Diagnostic, Spanned, closest};

use crate::codes;

/// Linux's, without `SIG`.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether a text is a signal's number or name.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, highest: u8| {
        let offset = name
            .strip_prefix(prefix)
            .and_then(|offset| offset.parse::<u8>().ok());
        offset.is_some_and(|offset| (1..=highest).contains(&offset))
    };
    NAMES.contains(&name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}

/// Checks a signal that holds nothing to expand.
pub(super) fn check(signal: &Spanned<String>, problems: &mut Vec<Diagnostic>) {
    if signal.contains(['$', '\\', '`', '"', '\'']) || is_signal(signal) {
        return;
    }
    let mut problem = Diagnostic::error(codes::BAD_SIGNAL, "STOPSIGNAL names no signal")
        .at(signal.span, "not a signal");
    let upper = signal.to_ascii_uppercase();
    if let Some(near) = closest(upper.strip_prefix("SIG").unwrap_or(&upper), NAMES) {
        problem = problem.help(format!("did you mean `SIG{near}`?"));
    }
    problems.push(problem);
}
