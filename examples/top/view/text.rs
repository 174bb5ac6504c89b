//! Figures as short texts, and texts of others as harmless ones.

use std::time::Duration;

use ratatui::text::Span;

/// How much of a text of the server's is shown.
const LONGEST: usize = 200;

/// The text with a question mark for each character that could do something to a terminal or has no width of its own: controls,
/// marks that turn the direction of writing, combining characters. Letters and digits of all scripts stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown: String =
        text.chars().take(LONGEST).map(|char| if is_harmless(char) { char } else { '?' }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('~');
    }
    shown
}

fn is_harmless(char: char) -> bool {
    let letter = || char.is_alphanumeric() && Span::raw(char.encode_utf8(&mut [0; 4]).to_owned()).width() > 0;
    char == ' ' || char.is_ascii_graphic() || letter()
}

/// A number in three digits and a unit: `7`, `0.3`, `12.3k`, `4.56M`.
pub(crate) fn number(value: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut scaled = value.max(0.0);
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let decimals = match (unit, scaled) {
        (0, _) if scaled.fract() == 0.0 || scaled >= 9.95 => 0,
        (0, _) => 1,
        (_, ..9.995) => 2,
        (_, ..99.95) => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{}", UNITS[unit])
}

/// A rate, or a dash as long as there is nothing to compute it from.
pub(crate) fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// A time of a number of microseconds: `64us`, `1.0ms`, `2.1s`.
pub(crate) fn micros(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0}us"),
        ..1e6 => format!("{:.1}ms", micros / 1e3),
        _ => format!("{:.1}s", micros / 1e6),
    }
}

/// A time of a number of milliseconds.
pub(crate) fn millis(millis: f64) -> String {
    span(Duration::from_millis(millis as u64))
}

/// A time of any length, in the two largest units of it: `120ms`, `42s`, `5m12s`, `2h05m`, `3d04h`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
