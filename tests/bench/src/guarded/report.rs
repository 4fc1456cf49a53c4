//! The figures of guarded mode as tables and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::idle::{Idle, State};
use super::rows::{ALONE, Measurement, Series, TWO, scaling};
use super::start_up::{StartUp, StartUps, Starts};
use super::{Figures, Part, Way};
use crate::report::{no_figure, or_blank, table, time};
use crate::rounds::Effort;
use crate::row::Row;
use crate::series::Outcome;

/// What a new process of an approved program may take to be ready.
const READY_NS: f64 = 10e6;

/// A bar for the guard by shared memory, in words, and whether it is met.
struct Judged {
    bar: &'static str,
    goal: &'static str,
    verdict: &'static str,
}

fn judged(bar: &'static str, goal: &'static str, meets: bool, meets_goal: bool) -> Judged {
    let verdict = match (meets, meets_goal) {
        (true, true) => "goal met",
        (true, false) => "bar met",
        (false, _) => "NOT met",
    };
    Judged { bar, goal, verdict }
}

/// What one caller may take.
fn alone(measurement: &Measurement) -> Option<Judged> {
    let times = |base| measurement.times(Way::Memory, base);
    match measurement.row {
        Row::SessionInfo => {
            let ns = measurement.series(Way::Memory)?.median_ns();
            Some(judged("1/5 of remoting", "2 µs", times(Way::Remoting)? <= 0.2, ns <= 2e3))
        }
        Row::Hmac => {
            let (of_remoting, of_direct) = (times(Way::Remoting)?, times(Way::Direct)?);
            Some(judged("1/2 of remoting", "1.18 x direct", of_remoting <= 0.5, of_direct <= 1.0 / 0.85))
        }
        Row::Ecdsa => {
            let of_direct = times(Way::Direct)?;
            Some(judged("1.25 x direct", "1.05 x direct", of_direct <= 1.25, of_direct <= 1.0 / 0.95))
        }
        _ => None,
    }
}

/// What two callers may not fall below.
fn two(measurement: &Measurement, alone: &Measurement) -> Option<Judged> {
    if measurement.row != Row::Ecdsa || measurement.load != TWO {
        return None;
    }
    let of_remoting = measurement.rates(Way::Memory, Way::Remoting)?;
    let of_alone = scaling(alone, measurement, Way::Memory)?;
    let meets = of_remoting >= 1.0 && of_alone >= 1.0;
    Some(judged("remoting, and one thread", "", meets, false))
}

fn cell(measurement: &Measurement, way: Way, figure: impl Fn(&Series) -> String) -> String {
    match measurement.series.get(way as usize) {
        Some(Outcome::Measured(series)) => figure(series),
        Some(Outcome::Refused(rv)) => no_figure(*rv),
        None => String::new(),
    }
}

fn ratio(ratio: Option<f64>) -> String {
    or_blank(ratio.map(|ratio| format!("{ratio:.2}")))
}

/// For people.
pub fn text(figures: &Figures, effort: Effort) -> String {
    let mut text = String::new();
    if !figures.measurements.is_empty() {
        let _ = write!(
            text,
            "\nGuarded, one thread of one process: median time of one operation, over {} rounds of {} ms; ratios within a \
             round\n\n{}",
            effort.guarded_rounds,
            effort.guarded_batch_ms,
            table(
                [
                    "",
                    "direct",
                    "memory",
                    "socket",
                    "remoting",
                    "memory/direct",
                    "socket/direct",
                    "memory/remoting",
                    "bar",
                    "goal",
                    ""
                ],
                figures.measurements.iter().filter(|measurement| measurement.load == ALONE).map(against_bar),
            ),
        );
        let _ = write!(
            text,
            "\nGuarded, processes and their threads: operations per second, and how many times those of one thread\n\n{}",
            table(
                [
                    "",
                    "processes",
                    "threads",
                    "direct",
                    "memory",
                    "socket",
                    "remoting",
                    "memory/direct",
                    "memory/remoting",
                    "direct x",
                    "memory x",
                    "not below",
                    ""
                ],
                figures.measurements.iter().map(|measurement| rates(figures, measurement)),
            ),
        );
        let _ = write!(
            text,
            "\nGuarded: p50, p99 and p99.9 of single operations, and how many took more than 5 ms\n\n{}",
            table(
                ["", "processes", "threads", "direct", "memory", "socket", "remoting"],
                figures.measurements.iter().map(tails),
            ),
        );
    }
    if let Some(start_ups) = &figures.start_ups {
        let _ = write!(
            text,
            "\nGuarded: until a new process has its first C_SignInit behind it; medians\n\n{}",
            table(
                [
                    "",
                    "in all",
                    "load",
                    "C_Initialize",
                    "session",
                    "login",
                    "find",
                    "C_SignInit",
                    "longest",
                    "bar",
                    ""
                ],
                start_up_rows(start_ups),
            ),
        );
        if start_ups.failed > 0 {
            let _ = writeln!(text, "\n{} starts failed, and were made once more.", start_ups.failed);
        }
    }
    if let Some(idle) = &figures.idle {
        let _ = write!(
            text,
            "\nGuarded: a guard that nobody calls, over {} ms; {} clients\n\n{}",
            effort.idle_ms,
            idle.clients,
            table(
                ["", "processes", "threads", "CPU each second", "wakes each second", "Pss"],
                [state("without clients", &idle.without), state("with clients", &idle.with)],
            ),
        );
        let _ = writeln!(
            text,
            "\nEach client adds {} of Pss to the guard's processes, {} of it in the monitor, and took {} to start; {} had to \
             be started again.",
            bytes(idle.pss_per_client()),
            bytes(idle.monitor_pss_per_client()),
            time(idle.start_ns),
            idle.failed,
        );
    }
    text
}

fn against_bar(measurement: &Measurement) -> [String; 11] {
    let of = |way| cell(measurement, way, |series| time(series.median_ns()));
    let [direct, memory, socket, remoting] = Way::ALL;
    let judged = alone(measurement);
    [
        measurement.row.to_string(),
        of(direct),
        of(memory),
        of(socket),
        of(remoting),
        ratio(measurement.times(memory, direct)),
        ratio(measurement.times(socket, direct)),
        ratio(measurement.times(memory, remoting)),
        or_blank(judged.as_ref().map(|judged| judged.bar.to_owned())),
        or_blank(judged.as_ref().map(|judged| judged.goal.to_owned())),
        or_blank(judged.map(|judged| judged.verdict.to_owned())),
    ]
}

fn of_one_thread<'a>(figures: &'a Figures, measurement: &Measurement) -> Option<&'a Measurement> {
    figures.measurements.iter().find(|one| one.row == measurement.row && one.load == ALONE)
}

fn rates(figures: &Figures, measurement: &Measurement) -> [String; 13] {
    let [direct, memory, socket, remoting] = Way::ALL;
    let rate = |way| cell(measurement, way, |series| format!("{:.0}", series.rate()));
    let one = of_one_thread(figures, measurement);
    let scaled = |way| ratio(one.and_then(|one| scaling(one, measurement, way)));
    let judged = one.and_then(|one| two(measurement, one));
    [
        measurement.row.to_string(),
        measurement.load.processes.to_string(),
        measurement.load.threads.to_string(),
        rate(direct),
        rate(memory),
        rate(socket),
        rate(remoting),
        ratio(measurement.rates(memory, direct)),
        ratio(measurement.rates(memory, remoting)),
        scaled(direct),
        scaled(memory),
        or_blank(judged.as_ref().map(|judged| judged.bar.to_owned())),
        or_blank(judged.map(|judged| judged.verdict.to_owned())),
    ]
}

fn tails(measurement: &Measurement) -> [String; 7] {
    let of = |way| {
        cell(measurement, way, |series| {
            let at = |share| time(series.times.quantile(share));
            format!("{}  {}  {}  {:>3}", at(0.5), at(0.99), at(0.999), series.times.long())
        })
    };
    let [direct, memory, socket, remoting] = Way::ALL.map(of);
    let Measurement { row, load, .. } = measurement;
    [row.to_string(), load.processes.to_string(), load.threads.to_string(), direct, memory, socket, remoting]
}

fn start_up_rows(start_ups: &StartUps) -> [[String; 11]; 4] {
    let row = |title: &str, starts: &Starts, bar: Option<f64>| {
        let of = |step: fn(&StartUp) -> f64| time(starts.median_ns(step));
        let total = starts.median_ns(StartUp::total_ns);
        [
            title.to_owned(),
            time(total),
            of(|start| start.load_ns),
            of(|start| start.initialize_ns),
            of(|start| start.session_ns),
            of(|start| start.login_ns),
            of(|start| start.find_ns),
            of(|start| start.sign_init_ns),
            time(starts.longest_ns()),
            or_blank(bar.map(time)),
            or_blank(bar.map(|bar| if total <= bar { "bar met" } else { "NOT met" }.to_owned())),
        ]
    };
    [
        row("direct", &start_ups.direct, None),
        row("remoting", &start_ups.remoting, None),
        row("guard, warm", &start_ups.warm, Some(READY_NS)),
        row("guard, cold: just started", &start_ups.cold, None),
    ]
}

fn bytes(bytes: f64) -> String {
    format!("{:.2} MiB", bytes / f64::from(1 << 20))
}

fn state(title: &str, state: &State) -> [String; 6] {
    [
        title.to_owned(),
        state.processes.to_string(),
        state.threads.to_string(),
        time(state.cpu_ns_per_second),
        format!("{:.1}", state.wakes_per_second),
        bytes(state.pss_bytes as f64),
    ]
}

/// For programs: times in nanoseconds.
pub fn json(figures: &Figures) -> Value {
    let row = |measurement: &Measurement| {
        let of = |way: Way| {
            let value = match measurement.series.get(way as usize) {
                Some(Outcome::Measured(series)) => series_json(measurement, way, series),
                Some(Outcome::Refused(rv)) => json!({ "refused": rv }),
                None => Value::Null,
            };
            (way.name().to_owned(), value)
        };
        let judged = if measurement.load == ALONE {
            alone(measurement)
        } else {
            of_one_thread(figures, measurement).and_then(|one| two(measurement, one))
        };
        json!({
            "row": Part::Row(measurement.row).name(),
            "title": measurement.row.to_string(),
            "processes": measurement.load.processes,
            "threads": measurement.load.threads,
            "series": Map::from_iter(Way::ALL.map(of)),
            "bar": judged.as_ref().map(|judged| judged.bar),
            "bar_met": judged.as_ref().map(|judged| judged.verdict != "NOT met"),
        })
    };
    json!({
        "rows": figures.measurements.iter().map(row).collect::<Vec<_>>(),
        "start_up": figures.start_ups,
        "start_up_bar_ns": READY_NS,
        "idle": figures.idle.as_ref().map(idle_json),
    })
}

fn series_json(measurement: &Measurement, way: Way, series: &Series) -> Value {
    json!({
        "median_ns": series.median_ns(),
        "operations_per_second": series.rate(),
        "p50_ns": series.times.quantile(0.5),
        "p99_ns": series.times.quantile(0.99),
        "p999_ns": series.times.quantile(0.999),
        "longest_ns": series.times.longest_ns(),
        "over_5_ms": series.times.long(),
        "samples": series.times.count(),
        "time_by_direct": measurement.times(way, Way::Direct),
        "time_by_remoting": measurement.times(way, Way::Remoting),
        "rate_by_direct": measurement.rates(way, Way::Direct),
        "rate_by_remoting": measurement.rates(way, Way::Remoting),
    })
}

fn idle_json(idle: &Idle) -> Value {
    json!({
        "clients": idle.clients,
        "without": idle.without,
        "with": idle.with,
        "pss_per_client_bytes": idle.pss_per_client(),
        "monitor_pss_per_client_bytes": idle.monitor_pss_per_client(),
        "start_ns": idle.start_ns,
        "failed": idle.failed,
    })
}
