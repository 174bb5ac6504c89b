//! The columns of each table.

use super::figures::{ConnectionRow, LoopRow, ServerRow, SessionRow, bound_of};
use super::table::{Column, Row};
use super::text::{micros, millis, number};

impl Row for ConnectionRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::id("ID", 8, |row| &row.of.id),
        Column::text("PEER", 21, "peer", |row| row.of.peer.clone()),
        Column::number("BYTES/s", 8, LATELY_ACTIVE, number, Self::bytes),
        Column::number("IN/s", 7, LATELY_ACTIVE, number, |row| row.bytes_in),
        Column::number("OUT/s", 7, LATELY_ACTIVE, number, |row| row.bytes_out),
        Column::number("PENDING", 8, "pending", number, |row| Some(row.of.pending as f64)),
        Column::number("IDLE", 7, "idle_ms", millis, |row| Some(row.of.idle_ms as f64)),
        Column::number("AGE", 7, "age_ms", millis, |row| Some(row.of.age_ms as f64)),
        Column::text("STATE", 13, "id", |row| match row.of.reading_paused {
            true => "not reading".to_owned(),
            false => row.of.state.clone(),
        }),
        Column::text("SERVER", 12, "id", |row| row.of.server.clone().unwrap_or_default()),
        Column::text("LOOP", 12, "id", |row| row.of.r#loop.clone()),
        Column::number("UNREAD", 7, "unread", number, |row| Some(row.of.unread as f64)),
        Column::number("IN", 7, "bytes_in", number, |row| Some(row.of.bytes_in as f64)),
        Column::number("OUT", 7, "bytes_out", number, |row| Some(row.of.bytes_out as f64)),
    ];
    const SORTED_BY: usize = 2;

    fn id(&self) -> &str {
        &self.of.id
    }

    fn searched(&self) -> impl Iterator<Item = &str> {
        let of = &self.of;
        [&of.id, &of.peer, &of.r#loop].into_iter().chain(&of.local).chain(&of.server).map(String::as_str)
    }
}

impl Row for SessionRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::id("ID", 8, |row| &row.of.id),
        Column::text("PEER", 21, "peer", |row| row.of.peer.clone()),
        Column::number("MSG IN/s", 8, "throughput.messages_in", number, |row| row.messages_in),
        Column::number("MSG OUT/s", 9, "throughput.messages_out", number, |row| row.messages_out),
        Column::number("IN/s", 7, "throughput.bytes_in", number, |row| row.bytes_in),
        Column::number("OUT/s", 7, "throughput.bytes_out", number, |row| row.bytes_out),
        Column::number("PENDING", 8, "pending_bytes", number, |row| Some(row.of.pending_bytes as f64)),
        Column::text("STATE", 9, "id", |row| row.of.state.clone()),
        Column::text("AUTH", 4, "id", |row| if row.of.authenticated { "yes" } else { "no" }.to_owned()),
        Column::number("READ AGO", 8, "last_read_ms", millis, |row| Some(row.of.last_read_ms as f64)),
        Column::number("SENT AGO", 8, "last_written_ms", millis, |row| Some(row.of.last_written_ms as f64)),
        Column::number("AGE", 7, "age_ms", millis, |row| Some(row.of.age_ms as f64)),
        Column::text("SERVICE", 12, "id", |row| row.of.service.clone()),
        Column::text("LOOP", 12, "id", |row| row.of.r#loop.clone()),
    ];
    const SORTED_BY: usize = 2;

    fn id(&self) -> &str {
        &self.of.id
    }

    fn searched(&self) -> impl Iterator<Item = &str> {
        let of = &self.of;
        [&of.id, &of.peer, &of.service, &of.r#loop].into_iter().map(String::as_str)
    }
}

/// Servers are few, and all fetched: what they are asked for by doesn't matter.
impl Row for ServerRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("NAME", 12, "", |row| row.of.name.clone()),
        Column::text("ADDRESS", 21, "", |row| row.of.addresses.join(" ")),
        Column::text("STATE", 9, "", |row| {
            let state = match (row.of.stopped, row.of.accepting) {
                (true, _) => "stopped",
                (false, true) => "accepting",
                (false, false) => "paused",
            };
            state.to_owned()
        }),
        Column::number("CONNS", 6, "", number, |row| Some(row.of.connections as f64)),
        Column::number("ACCEPTED/s", 10, "", number, |row| row.accepted),
        Column::number("REFUSED", 7, "", number, |row| {
            Some((row.of.refused + row.of.refused_by_address) as f64)
        }),
        Column::number("SHED", 6, "", number, |row| Some(row.of.shed as f64)),
        Column::number("ERRORS", 6, "", number, |row| Some(row.of.accept_errors as f64)),
        Column::number("MSG IN/s", 8, "", number, |row| row.messages_in),
        Column::number("MSG OUT/s", 9, "", number, |row| row.messages_out),
        Column::number("ACCEPTED", 8, "", number, |row| Some(row.of.accepted as f64)),
    ];
    const SORTED_BY: usize = 3;

    fn id(&self) -> &str {
        &self.of.name
    }

    fn searched(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.of.name).chain(&self.of.addresses).map(String::as_str)
    }
}

/// Loops are shown in the server's order.
impl Row for LoopRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("LOOP", 14, "", |row| {
            format!("{}{}", row.of.name, if row.of.alive { "" } else { " (ended)" })
        }),
        Column::number("TURNS/s", 8, "", number, |row| row.turns),
        Column::number("EVENTS/s", 8, "", number, |row| row.events),
        Column::number("TASKS/s", 8, "", number, |row| row.tasks),
        Column::number("P99 LATE", 9, "", micros, |row| row.lateness.map(|bucket| bound_of(bucket) as f64)),
        Column::number("LONGEST", 9, "", micros, |row| Some(row.of.longest_callback_us as f64)),
        Column::number("CONNS", 7, "", number, |row| Some(row.of.connections as f64)),
        Column::number("SLOW", 6, "", number, |row| Some(row.of.slow_callbacks as f64)),
        Column::number("PANICS", 6, "", number, |row| Some(row.of.panics as f64)),
    ];
    const SORTED_BY: usize = 0;

    fn id(&self) -> &str {
        &self.of.name
    }

    fn searched(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.of.name.as_str())
    }
}

/// The server has no rates of connections to sort by. Those that did something last are the ones that may have a high one.
const LATELY_ACTIVE: &str = "-idle_ms";
