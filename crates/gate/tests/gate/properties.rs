//! Laws of the decision, over grants and demands of any kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use attestation::grant::{Grant, Operation, Rate};
use attestation::key_uri::ObjectClass;
use attestation::token::VerifiedToken;
use gate::{Demand, Name, Refusal, Subject, authorize};
use pkcs11_table::{Form, Use};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::world::{Bench, SLOT, clock, grant, named, pass, token_with};

const OPERATIONS: [Operation; 3] = [Operation::Sign, Operation::Decrypt, Operation::Wrap];
const LABELS: [&str; 3] = ["a", "b", "c"];
/// The one that states the whole of a name.
const WHOLE_A: &str = "pkcs11:id=%01;object=a;type=private";
const MECHANISMS: [u64; 3] = [1, 3, 0x1041];

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    const KEYS: [&str; 5] =
        [WHOLE_A, "pkcs11:object=a", "pkcs11:object=b", "pkcs11:token=sandbox", "pkcs11:token=other"];
    let grant = (
        (select(&KEYS[..]), any::<bool>()),
        subsequence(&OPERATIONS[..], 1..=OPERATIONS.len()),
        prop::option::of(subsequence(&MECHANISMS[..], 1..=MECHANISMS.len())),
        prop::option::of(0..2_000_u64),
        prop::option::of(0..3_u32),
    );
    prop::collection::vec(grant, 0..4).prop_map(|grants| {
        let made = |(index, ((key, many), operations, mechanisms, ends_in_ms, per_second)): (usize, _)| {
            let key: &str = key;
            let ends_in_ms: Option<u64> = ends_in_ms;
            let per_second: Option<u32> = per_second;
            Grant {
                id: format!("G-{index}"),
                key: key.to_owned(),
                operations,
                many,
                mechanisms,
                rate: per_second.map(|most| Rate { per_second: Some(most), total: None }),
                deadline_boottime_ms: ends_in_ms.map(|ms| clock().unwrap() + ms),
            }
        };
        grants.into_iter().enumerate().map(made).collect()
    })
}

fn demands() -> impl Strategy<Value = Vec<Demand>> {
    let demand = (select(&OPERATIONS[..]), select(&LABELS[..]), prop::option::of(select(&MECHANISMS[..])))
        .prop_map(|(operation, label, mechanism)| Demand {
            operation,
            subject: Arc::new(Subject::of(named(ObjectClass::Private, label))),
            mechanism,
            name: Name::Borne,
        });
    prop::collection::vec(demand, 0..4)
}

fn now_after(ms: u64) -> u64 {
    clock().unwrap() + ms
}

fn permits(token: &VerifiedToken, demands: &[Demand], now_ms: u64) -> bool {
    authorize(token, demands, now_ms).is_ok()
}

/// The rule, written out again from the words of docs/TRUST-TOKEN.md.
fn is_covered(grants: &[Grant], demand: &Demand, now_ms: u64) -> bool {
    let gate::Named::Object(object) = demand.subject.named() else { return false };
    grants.iter().any(|grant| {
        let names_it = match grant.key.as_str() {
            "pkcs11:token=sandbox" => true,
            WHOLE_A => object.label == b"a",
            key => key.as_bytes() == [b"pkcs11:object=", object.label.as_slice()].concat(),
        };
        names_it
            && grant.operations.contains(&demand.operation)
            && grant
                .mechanisms
                .as_ref()
                .is_none_or(|list| demand.mechanism.is_none_or(|one| list.contains(&one)))
            && grant.deadline_boottime_ms.is_none_or(|end_ms| now_ms < end_ms)
    })
}

/// One step on a session of four.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(u64),
    Complete(u64),
    Fail(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..=4_u64).prop_map(Step::Begin),
        2 => (1..=4_u64).prop_map(Step::Complete),
        1 => (1..=4_u64).prop_map(Step::Fail),
        2 => (1..700_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    // Each case has tokens signed and verified, which takes its time unoptimised.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_demand_is_permitted_if_and_only_if_a_grant_covers_it(
        grants in grants(), demands in demands(), after in 0..2_000_u64,
    ) {
        let token = token_with(grants.clone());
        let now = now_after(after);
        let covered = demands.iter().all(|demand| is_covered(&grants, demand, now));
        prop_assert_eq!(permits(&token, &demands, now), covered);
    }

    #[test]
    fn a_name_is_given_if_and_only_if_a_grant_that_covers_it_states_all_of_it_or_is_wide(
        grants in grants(), demands in demands(), after in 0..2_000_u64,
    ) {
        let token = token_with(grants.clone());
        let now = now_after(after);
        let naming: Vec<_> =
            grants.into_iter().filter(|grant| grant.many || grant.key == WHOLE_A).collect();
        for demand in demands {
            let given = Demand { name: Name::Given, ..demand };
            prop_assert_eq!(permits(&token, core::slice::from_ref(&given), now), is_covered(&naming, &given, now));
        }
    }

    #[test]
    fn demands_are_permitted_together_if_and_only_if_each_is(
        grants in grants(), demands in demands(), after in 0..2_000_u64,
    ) {
        let token = token_with(grants);
        let now = now_after(after);
        let each = demands.iter().all(|demand| permits(&token, core::slice::from_ref(demand), now));
        prop_assert_eq!(permits(&token, &demands, now), each);
    }

    #[test]
    fn another_grant_takes_nothing_away_and_a_missing_one_gives_nothing(
        all in grants(), kept in 0..4_usize, demands in demands(), after in 0..2_000_u64,
    ) {
        let fewer: Vec<_> = all.iter().take(kept).cloned().collect();
        let now = now_after(after);
        if permits(&token_with(fewer), &demands, now) {
            prop_assert!(permits(&token_with(all), &demands, now));
        }
    }

    #[test]
    fn the_order_of_grants_decides_nothing(
        grants in grants(), demands in demands(), after in 0..2_000_u64,
    ) {
        let reversed: Vec<_> = grants.iter().rev().cloned().collect();
        let now = now_after(after);
        prop_assert_eq!(
            permits(&token_with(grants), &demands, now),
            permits(&token_with(reversed), &demands, now)
        );
    }

    #[test]
    fn a_permission_stands_until_the_moment_it_states(grants in grants(), demands in demands()) {
        let token = token_with(grants);
        let now = now_after(0);
        if let Ok(grounds) = authorize(&token, &demands, now) {
            prop_assert!(grounds.until_ms > now);
            prop_assert!(grounds.until_ms <= token.deadline_boottime_ms());
            prop_assert!(permits(&token, &demands, grounds.until_ms - 1));
        }
    }

    #[test]
    fn nothing_is_permitted_from_the_deadline_on(
        grants in grants(), demands in demands(), after in 0..10_u64,
    ) {
        let token = token_with(grants);
        let late = token.deadline_boottime_ms() + after;
        prop_assert_eq!(authorize(&token, &demands, late), Err(Refusal::TokenExpired));
    }

    #[test]
    fn a_key_made_from_others_is_permitted_if_and_only_if_they_are(
        grants in grants(),
        parents in subsequence(&LABELS[..], 1..=LABELS.len()),
        operation in select(&OPERATIONS[..]),
        lasting in any::<bool>(),
    ) {
        let token = token_with(grants);
        let of = |subject: Subject| Demand {
            operation, subject: Arc::new(subject), mechanism: None, name: Name::Borne,
        };
        let by_name = |label: &str| Subject::of(named(ObjectClass::Private, label));
        let provenance = gate::Provenance::default();
        let new = gate::NewObject { named: named(ObjectClass::Private, "new"), lasting };
        let subjects: Vec<_> = parents.iter().map(|label| by_name(label)).collect();
        provenance.record((0, 1, 2), &new, true, &subjects);
        let made = provenance.subject(0, 2, new.named, lasting).unwrap();
        let labels: BTreeSet<_> = parents.iter().copied().chain(lasting.then_some("new")).collect();
        let each = labels.iter().all(|label| permits(&token, &[of(by_name(label))], now_after(0)));
        prop_assert_eq!(permits(&token, &[of(made)], now_after(0)), each);
    }

    #[test]
    fn rates_permit_what_they_state_and_no_more(
        per_second in prop::option::of(0..4_u32), total in prop::option::of(0..8_u64), steps in steps(),
    ) {
        prop_assume!(per_second.is_some() || total.is_some());
        let rated = Grant { rate: Some(Rate { per_second, total }), ..grant(&[Operation::Sign]) };
        let bench = Bench::new([Ok(token_with(vec![rated]))]);
        (2..=4).for_each(|session| assert!(bench.sessions.opened(session, SLOT)));
        // The rule, told by a model: when each operation began, what completed, and what runs where.
        let (mut begun_ms, mut completed, mut running) = (Vec::new(), 0_u64, BTreeSet::new());
        for step in steps {
            match step {
                Step::Begin(session) => {
                    // The real module lets one operation of a kind run in a session.
                    if running.contains(&session) {
                        continue;
                    }
                    let now = clock().unwrap();
                    let recent = begun_ms.iter().filter(|at| now - **at < 1_000).count();
                    let room = per_second.is_none_or(|most| recent < most as usize)
                        && total.is_none_or(|most| completed + (running.len() as u64) < most);
                    prop_assert_eq!(bench.sign_on(session, "granted").is_ok(), room);
                    if room {
                        begun_ms.push(now);
                        running.insert(session);
                    }
                }
                Step::Complete(session) if running.remove(&session) => {
                    completed += 1;
                    bench.sessions.get(session).unwrap().lock().ended(Use::Sign, Form::Plain).unwrap().complete();
                }
                Step::Fail(session) if running.remove(&session) => {
                    drop(bench.sessions.get(session).unwrap().lock().ended(Use::Sign, Form::Plain).unwrap());
                }
                Step::Complete(_) | Step::Fail(_) => {}
                Step::Pass(ms) => pass(ms),
            }
        }
    }
}
