//! Servers side by side: interleaved in rounds, and compared within each round.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::arguments::{Arguments, Failure};
use crate::load::{Load, Outcome, Until};
use crate::process::{CORES, Server, run_load};
use crate::rows::{ROWS, Row};
use crate::servers::{Kind, Service};

const DEFAULT_KINDS: [Kind; 9] = [
    Kind::Raw,
    Kind::RawDeferred,
    Kind::RawBatch,
    Kind::Campana,
    Kind::CampanaNow,
    Kind::CampanaBusy,
    Kind::CampanaSession,
    Kind::Tokio,
    Kind::TokioUsual,
];

/// `peers run`.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let rounds = arguments.option("rounds")?.unwrap_or(5);
    let time = Duration::from_secs_f64(arguments.option("seconds")?.unwrap_or(2.0));
    let kinds = match arguments.list("kinds") {
        Some(names) => names.iter().map(|name| name.parse()).collect::<Result<Vec<Kind>, _>>()?,
        None => DEFAULT_KINDS.to_vec(),
    };
    let Some(&floor) = kinds.first() else { return Err("there are no kinds".into()) };
    let rows = match arguments.list("rows") {
        Some(names) => names.iter().map(|name| row_of(name)).collect::<Result<Vec<Row>, _>>()?,
        None => ROWS.to_vec(),
    };
    arguments.finish()?;

    let mut results = Results::new();
    for round in 0..rounds {
        for (row_number, row) in rows.iter().enumerate() {
            for step in 0..kinds.len() {
                // Each round begins with another kind, so that none always comes after the same one.
                let kind_number = (step + round) % kinds.len();
                let kind = kinds[kind_number];
                if !row.concerns(kind) {
                    continue;
                }
                let outcome = measure(row, kind, time)?;
                eprintln!("round {}, {}, {kind}: {outcome}", round + 1, row.name);
                results.entry((row_number, kind_number)).or_default().push(outcome);
            }
        }
    }
    print_tables(&rows, &kinds, &results, floor, rounds);
    Ok(())
}

/// By row and kind, a value for each round.
type Results = BTreeMap<(usize, usize), Vec<Outcome>>;

fn row_of(name: &str) -> Result<Row, String> {
    let found = ROWS.iter().find(|row| row.name == name);
    found.copied().ok_or_else(|| format!("there is no row {name}: see `peers rows`"))
}

fn measure(row: &Row, kind: Kind, time: Duration) -> Result<Outcome, Failure> {
    // Two loops share the two cores with the load, as the scheduler sees fit.
    let cores = if row.service == Service::Broadcast { None } else { Some(CORES) };
    let server = Server::start(kind, row.service, cores.map(|cores| cores.0), false)?;
    let load = Load {
        pattern: row.pattern,
        server: server.address,
        connections: row.connections,
        senders: row.senders,
        bytes: row.bytes,
        depth: row.depth,
        lockstep: false,
        until: Until::Elapsed(time),
        watch: Some(server.id()),
    };
    run_load(&load, cores.map(|cores| cores.1))
}

fn print_tables(rows: &[Row], kinds: &[Kind], results: &Results, floor: Kind, rounds: usize) {
    println!("Throughput as a ratio to {floor}, median of {rounds} rounds (least and most)\n");
    print_table(rows, kinds, results, &format!("{floor}, a second"), Outcome::rate, |rate| {
        if rate >= 1e6 { format!("{:.2} M", rate / 1e6) } else { format!("{:.1} k", rate / 1e3) }
    });
    println!(
        "\nProcessor time of a message as a ratio to {floor}, median of {rounds} rounds (least and most)\n"
    );
    print_table(rows, kinds, results, &format!("{floor}, ns"), Outcome::server_cpu_per_message, |nanos| {
        format!("{nanos:.0}")
    });
    println!("\nLatency in us, median of {rounds} rounds: p50 / p99\n");
    print_header(kinds.iter().map(ToString::to_string));
    for (row_number, row) in rows.iter().enumerate() {
        print!("| {} |", row.what);
        for kind_number in 0..kinds.len() {
            match results.get(&(row_number, kind_number)) {
                Some(outcomes) => {
                    let micros = |nanos: fn(&Outcome) -> u64| {
                        median(outcomes.iter().map(|outcome| nanos(outcome) as f64 / 1e3))
                    };
                    print!(" {:.1} / {:.1} |", micros(|of| of.p50_nanos), micros(|of| of.p99_nanos));
                }
                None => print!(" |"),
            }
        }
        println!();
    }
}

fn print_table(
    rows: &[Row],
    kinds: &[Kind],
    results: &Results,
    floor: &str,
    figure: impl Fn(&Outcome) -> f64,
    format: impl Fn(f64) -> String,
) {
    let others = kinds.iter().skip(1).map(ToString::to_string);
    print_header(std::iter::once(floor.to_owned()).chain(others));
    for (row_number, row) in rows.iter().enumerate() {
        let Some(floors) = results.get(&(row_number, 0)) else { continue };
        print!("| {} | {} |", row.what, format(median(floors.iter().map(&figure))));
        for kind_number in 1..kinds.len() {
            match results.get(&(row_number, kind_number)) {
                Some(outcomes) => {
                    let ratios: Vec<f64> =
                        outcomes.iter().zip(floors).map(|(one, floor)| figure(one) / figure(floor)).collect();
                    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = ratios.iter().copied().fold(0.0, f64::max);
                    print!(" {:.2} ({least:.2}-{most:.2}) |", median(ratios));
                }
                None => print!(" |"),
            }
        }
        println!();
    }
}

fn print_header(columns: impl Iterator<Item = String>) {
    let columns: Vec<String> = columns.collect();
    println!("| | {} |", columns.join(" | "));
    println!("| --- |{}", " --- |".repeat(columns.len()));
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
