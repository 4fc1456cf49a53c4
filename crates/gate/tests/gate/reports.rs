//! The queue of refusals: bounded, in order, its losses counted.

use attestation::decision::{DecisionId, LocalDecision, Reason};
use gate::{AttestationFailure, AttestationRequest, FailureKind, Report, Reports};

const CAPACITY: u64 = 64;

fn decision(number: u64) -> LocalDecision {
    LocalDecision {
        id: DecisionId::from_random(number << 4),
        at: number,
        function: "C_Sign".into(),
        operation: "sign".into(),
        key: None,
        reason: Reason { code: "not-granted".into(), detail: String::new() },
        measurement: None,
    }
}

fn numbers(report: &Report) -> Vec<u64> {
    report.decisions.iter().map(|decision| decision.at).collect()
}

fn holding(numbers: impl IntoIterator<Item = u64>) -> Reports {
    let reports = Reports::default();
    numbers.into_iter().for_each(|number| reports.push(decision(number)));
    reports
}

#[test]
fn what_was_pushed_is_taken_once_and_in_order() {
    let reports = Reports::default();
    assert!(reports.is_empty() && reports.take().is_empty());
    reports.push(decision(1));
    reports.push(decision(2));
    assert!(!reports.is_empty());
    let report = reports.take();
    assert!(!report.is_empty());
    assert_eq!((numbers(&report), report.lost), (vec![1, 2], 0));
    assert!(reports.is_empty() && reports.take().is_empty());
}

#[test]
fn the_oldest_are_lost_and_counted() {
    let report = holding(0..CAPACITY).take();
    assert_eq!((numbers(&report), report.lost), ((0..CAPACITY).collect(), 0));
    let reports = holding(0..CAPACITY + 3);
    let report = reports.take();
    assert_eq!((numbers(&report), report.lost), ((3..CAPACITY + 3).collect(), 3));
    assert_eq!(reports.take().lost, 0, "a loss is told once");
}

#[test]
fn a_loss_alone_is_something_to_say() {
    let report = Report { decisions: Vec::new(), lost: 1 };
    assert!(!report.is_empty());
    let reports = Reports::default();
    reports.put_back(report);
    assert!(!reports.is_empty());
    assert_eq!(reports.take().lost, 1);
}

#[test]
fn what_is_put_back_comes_before_what_came_meanwhile() {
    let reports = holding([1, 2]);
    let report = reports.take();
    reports.push(decision(3));
    reports.put_back(report);
    assert_eq!(numbers(&reports.take()), [1, 2, 3]);
}

#[test]
fn what_has_no_room_any_more_is_lost_from_its_oldest_end() {
    let reports = holding(0..CAPACITY);
    let mut report = reports.take();
    report.lost = 5;
    reports.push(decision(100));
    reports.push(decision(101));
    reports.put_back(report);
    let report = reports.take();
    let expected: Vec<_> = (2..CAPACITY).chain([100, 101]).collect();
    assert_eq!((numbers(&report), report.lost), (expected, 7));
}

#[test]
fn what_is_asked_and_what_fails_can_cross_to_another_process() {
    let report = Report { decisions: vec![decision(1), decision(2)], lost: 7 };
    let request = AttestationRequest { report, within_ms: Some(500), beyond_ms: 3 };
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<AttestationRequest>(&text).unwrap(), request);
    for (kind, decision) in
        [(FailureKind::Refused, Some(DecisionId::from_random(0x70))), (FailureKind::Unavailable, None)]
    {
        let failure = AttestationFailure { kind, code: "code".into(), detail: "detail".into(), decision };
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<AttestationFailure>(&text).unwrap(), failure);
        let more = text.replace("\"code\":", "\"more\":1,\"code\":");
        assert!(serde_json::from_str::<AttestationFailure>(&more).is_err(), "{more}");
    }
}
