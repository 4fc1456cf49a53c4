//! The figures as tables and as JSON. Bars are printed beside the figures; nothing is asserted.

use std::fmt::Write as _;
use std::thread;

use clap::ValueEnum as _;
use comfy_table::{CellAlignment, Table, presets};
use cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED;
use serde_json::{Value, json};

use crate::attestation::Attestation;
use crate::guarded;
use crate::protocol::Tail;
use crate::rounds::{Effort, Measurement, Series};
use crate::row::{Bar, Token};
use crate::series::{Access, Outcome};

/// What a renewal may take without the HSM's own time.
const WARM_ATTESTATION: Bar = Bar { bar: 5e6, goal: 1e6 };

/// What a cold attestation may take beyond hashing.
const COLD_ATTESTATION: Bar = Bar { bar: 50e6, goal: 50e6 };

/// All that was measured.
pub struct Report {
    /// How long.
    pub effort: Effort,
    /// The rows.
    pub measurements: Vec<Measurement>,
    /// Unless left out.
    pub attestation: Option<Attestation>,
    /// Unless left out.
    pub guarded: Option<guarded::Figures>,
}

/// Nanoseconds, for people.
pub fn time(ns: f64) -> String {
    match ns.abs() {
        below if below < 100.0 => format!("{ns:.1} ns"),
        below if below < 10e3 => format!("{ns:.0} ns"),
        below if below < 1e6 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

fn signed(ns: f64) -> String {
    if ns < 0.0 { time(ns) } else { format!("+{}", time(ns)) }
}

/// A cell that may be empty.
pub fn or_blank(text: Option<String>) -> String {
    text.unwrap_or_default()
}

fn verdict(bar: Bar, ns: f64) -> &'static str {
    match ns {
        reached if reached <= bar.goal => "goal met",
        reached if reached <= bar.bar => "bar met",
        _ => "NOT met",
    }
}

/// A table with its first column to the left.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if place == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    format!("{}\n", table.trim_fmt())
}

/// In the place of a figure: a way to the token that does not have the functions at all is no refusal.
pub fn no_figure(rv: u64) -> String {
    match rv {
        CKR_FUNCTION_NOT_SUPPORTED => "-".to_owned(),
        _ => format!("refused {rv:#x}"),
    }
}

/// A series' own figure, or that there is none.
fn cell(measurement: &Measurement, access: Access, figure: impl Fn(&Series) -> String) -> String {
    match measurement.series.get(access as usize) {
        Some(Outcome::Measured(series)) => figure(series),
        Some(Outcome::Refused(rv)) => no_figure(*rv),
        None => String::new(),
    }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let single = || self.measurements.iter().filter(|measurement| measurement.threads == 1);
        if !self.measurements.is_empty() {
            let _ = write!(
                text,
                "\nOne thread: median time of one operation, over {} rounds of {} ms; differences within a round\n\n{}",
                self.effort.rounds,
                self.effort.batch_ms,
                table(
                    [
                        "",
                        "direct",
                        "shim",
                        "proxy",
                        "shim-direct",
                        "shim/direct",
                        "proxy-direct",
                        "bar",
                        "goal",
                        ""
                    ],
                    single().map(against_bar),
                ),
            );
            let _ = write!(
                text,
                "\nOne thread: 99 and 99.9 of 100 operations took less than\n\n{}",
                table(
                    [
                        "",
                        "direct p99",
                        "p99.9",
                        "shim p99",
                        "p99.9",
                        "proxy p99",
                        "p99.9",
                        "samples (at least)"
                    ],
                    single().map(tails),
                ),
            );
            let _ = write!(
                text,
                "\nThreads, each with a session of its own, on {} processors: operations per second, and how many times \
                 those of one thread\n\n{}",
                thread::available_parallelism().map_or(1, usize::from),
                table(
                    [
                        "",
                        "threads",
                        "direct",
                        "shim",
                        "proxy",
                        "direct x",
                        "shim x",
                        "proxy x",
                        "direct p50",
                        "shim p50"
                    ],
                    self.measurements.iter().map(|measurement| self.threads(measurement)),
                ),
            );
        }
        if let Some(attestation) = &self.attestation {
            let _ = write!(
                text,
                "\nAttestation: {} cold starts of each kind, {} renewals\n\n{}",
                self.effort.cold_runs,
                self.effort.renewals,
                table(["", "time", "bar", "goal", ""], attestation_rows(attestation)),
            );
        }
        if let Some(figures) = &self.guarded {
            text.push_str(&guarded::text(figures, self.effort));
        }
        text
    }

    fn threads(&self, measurement: &Measurement) -> [String; 10] {
        let alone = self.measurements.iter().find(|one| one.row == measurement.row && one.threads == 1);
        let rate = |access| cell(measurement, access, |series| format!("{:.0}", series.rate()));
        let scaling = |access| {
            let (alone, together) = (alone?.series(access)?.rate(), measurement.series(access)?.rate());
            Some(format!("{:.2}", together / alone))
        };
        let median = |access| measurement.series(access).map(|series| time(series.median_ns()));
        let [direct, shim, proxy] = Access::ALL;
        [
            measurement.row.to_string(),
            measurement.threads.to_string(),
            rate(direct),
            rate(shim),
            rate(proxy),
            or_blank(scaling(direct)),
            or_blank(scaling(shim)),
            or_blank(scaling(proxy)),
            or_blank(median(direct)),
            or_blank(median(shim)),
        ]
    }

    /// For programs: times in nanoseconds.
    pub fn json(&self) -> Value {
        json!({
            "rounds": self.effort.rounds,
            "batch_ms": self.effort.batch_ms,
            "cold_runs": self.effort.cold_runs,
            "renewals": self.effort.renewals,
            "processors": thread::available_parallelism().map_or(1, usize::from),
            "rows": self.measurements.iter().map(row_json).collect::<Vec<_>>(),
            "attestation": self.attestation.as_ref().map(attestation_json),
            "guarded": self.guarded.as_ref().map(guarded::Figures::json),
        })
    }
}

fn against_bar(measurement: &Measurement) -> [String; 10] {
    let [direct, shim, proxy] = Access::ALL;
    let of = |access| cell(measurement, access, |series| time(series.median_ns()));
    let bar = measurement.row.bar();
    let difference = measurement.difference_ns(shim);
    let ratio = measurement.ratio(shim).filter(|_| measurement.row.token() == Token::SoftHsm);
    [
        measurement.row.to_string(),
        of(direct),
        of(shim),
        of(proxy),
        or_blank(difference.map(signed)),
        // Against a call that does nothing a ratio says nothing.
        or_blank(ratio.map(|ratio| format!("{ratio:.3}"))),
        or_blank(measurement.difference_ns(proxy).map(signed)),
        or_blank(bar.map(|bar| signed(bar.bar))),
        or_blank(bar.map(|bar| signed(bar.goal))),
        or_blank(bar.zip(difference).map(|(bar, difference)| verdict(bar, difference).to_owned())),
    ]
}

fn tails(measurement: &Measurement) -> [String; 8] {
    let tail = |access| measurement.series(access).and_then(|series| series.tail);
    let samples = Access::ALL.into_iter().filter_map(tail).map(|tail| tail.samples).min();
    let of = |access, quantile: fn(&Tail) -> f64| {
        cell(measurement, access, |series| or_blank(series.tail.as_ref().map(|tail| time(quantile(tail)))))
    };
    let [[direct, direct_last], [shim, shim_last], [proxy, proxy_last]] =
        Access::ALL.map(|access| [of(access, |tail| tail.p99_ns), of(access, |tail| tail.p999_ns)]);
    let title = measurement.row.to_string();
    [
        title,
        direct,
        direct_last,
        shim,
        shim_last,
        proxy,
        proxy_last,
        or_blank(samples.map(|samples| samples.to_string())),
    ]
}

fn attestation_rows(attestation: &Attestation) -> [[String; 5]; 8] {
    let row =
        |title: &str, ns: f64| [title.to_owned(), time(ns), String::new(), String::new(), String::new()];
    let without_hsm = attestation.warm_without_hsm();
    [
        row("pkcs11-tool --sign, direct", attestation.tool_direct),
        row("pkcs11-tool --sign, shim", attestation.tool_shim),
        row("cold: what the shim adds to a new process", attestation.cold),
        row("of it hashing what the process maps", attestation.hashing),
        [
            "cold, beyond hashing".to_owned(),
            time(attestation.cold_beyond_hashing()),
            time(COLD_ATTESTATION.bar),
            String::new(),
            verdict(COLD_ATTESTATION, attestation.cold_beyond_hashing()).to_owned(),
        ],
        row("warm: a renewal in a running process", attestation.warm),
        row("of it the HSM: login, searches, attributes, a signature", attestation.hsm),
        [
            "warm, without the HSM".to_owned(),
            time(without_hsm),
            time(WARM_ATTESTATION.bar),
            time(WARM_ATTESTATION.goal),
            verdict(WARM_ATTESTATION, without_hsm).to_owned(),
        ],
    ]
}

fn row_json(measurement: &Measurement) -> Value {
    let series = Access::ALL.map(|access| {
        let value = match measurement.series.get(access as usize) {
            Some(Outcome::Measured(series)) => json!({
                "median_ns": series.median_ns(),
                "operations_per_second": series.rate(),
                "tail": series.tail,
                "difference_ns": measurement.difference_ns(access),
                "ratio": measurement.ratio(access),
            }),
            Some(Outcome::Refused(rv)) => json!({ "refused": rv }),
            None => Value::Null,
        };
        (access.name().to_owned(), value)
    });
    let difference = measurement.difference_ns(Access::Shim);
    let bar = measurement.row.bar();
    json!({
        "row": measurement.row.to_possible_value().map(|name| name.get_name().to_owned()),
        "title": measurement.row.to_string(),
        "threads": measurement.threads,
        "series": serde_json::Map::from_iter(series),
        "bar_ns": bar.map(|bar| bar.bar),
        "goal_ns": bar.map(|bar| bar.goal),
        "bar_met": bar.zip(difference).map(|(bar, difference)| difference <= bar.bar),
    })
}

fn attestation_json(attestation: &Attestation) -> Value {
    json!({
        "tool_direct_ns": attestation.tool_direct,
        "tool_shim_ns": attestation.tool_shim,
        "cold_ns": attestation.cold,
        "hashing_ns": attestation.hashing,
        "cold_beyond_hashing_ns": attestation.cold_beyond_hashing(),
        "warm_ns": attestation.warm,
        "hsm_ns": attestation.hsm,
        "warm_without_hsm_ns": attestation.warm_without_hsm(),
        "bar_ns": WARM_ATTESTATION.bar,
        "goal_ns": WARM_ATTESTATION.goal,
        "bar_met": attestation.warm_without_hsm() <= WARM_ATTESTATION.bar,
    })
}
