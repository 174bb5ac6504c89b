//! Tells the date and time in words, and closes (RFC 867).
//!
//! `cargo run --example daytime`, then `nc 127.0.0.1 2013`.

mod support;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Tells the date and time (RFC 867).", "127.0.0.1:2013").parse();
    support::serve(&arguments, |server, event_loop| {
        server
            .on_connect(|conn| {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                // It may fail only if the peer has gone already, and then close does nothing.
                let _ = conn.send(daytime(since_1970.as_secs()) + "\r\n");
                // What is sent before a close is still delivered.
                conn.close();
            })
            .start(event_loop)
    })
}

/// For example `Tuesday, February 22, 1982 17:37:43-UTC`.
fn daytime(seconds_since_1970: u64) -> String {
    const WEEKDAYS: [&str; 7] =
        ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const DAYS_OF_400_YEARS: u64 = 400 * 365 + 97;

    let (mut days, seconds) = (seconds_since_1970 / 86_400, seconds_since_1970 % 86_400);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // 1970 began on a Thursday.
    let weekday = WEEKDAYS[(days % 7) as usize];

    let mut year = 1970 + days / DAYS_OF_400_YEARS * 400;
    days %= DAYS_OF_400_YEARS;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = "";
    for (name, length) in months(year) {
        month = name;
        if days < length {
            break;
        }
        days -= length;
    }
    let day = days + 1;
    format!("{weekday}, {month} {day}, {year} {hour:02}:{minute:02}:{second:02}-UTC")
}

fn days_of_year(year: u64) -> u64 {
    if is_leap_year(year) { 366 } else { 365 }
}

fn is_leap_year(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn months(year: u64) -> [(&'static str, u64); 12] {
    [
        ("January", 31),
        ("February", if is_leap_year(year) { 29 } else { 28 }),
        ("March", 31),
        ("April", 30),
        ("May", 31),
        ("June", 30),
        ("July", 31),
        ("August", 31),
        ("September", 30),
        ("October", 31),
        ("November", 30),
        ("December", 31),
    ]
}

#[cfg(test)]
mod tests {
    use super::daytime;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "Thursday, January 1, 1970 00:00:00-UTC"),
            (951_782_400, "Tuesday, February 29, 2000 00:00:00-UTC"),
            (1_735_689_599, "Tuesday, December 31, 2024 23:59:59-UTC"),
            (1_735_689_600, "Wednesday, January 1, 2025 00:00:00-UTC"),
            (4_107_542_400, "Monday, March 1, 2100 00:00:00-UTC"),
            (12_622_780_800, "Thursday, January 1, 2370 00:00:00-UTC"),
        ] {
            assert_eq!(daytime(seconds), expected);
        }
    }
}
