//! Nonces over time and in numbers, at the store.

use policy_server::appraisal::NonceState;
use policy_server::store::{commit, nonces};

use crate::installation::Installation;

#[tokio::test]
async fn a_nonce_counts_for_a_minute_and_is_forgotten_later() {
    let installation = Installation::new().await;
    let mut transaction = installation.server.store.write().await.unwrap();
    for nonce in ["a", "b", "c", "d"] {
        nonces::add(&mut transaction, nonce, "kid", "cnf", 1000).await.unwrap();
    }
    for (nonce, at, state) in [
        ("a", 1000, NonceState::Fresh),
        ("a", 1000, NonceState::Used),
        ("b", 1059, NonceState::Fresh),
        ("c", 1060, NonceState::Expired),
        ("c", 1060, NonceState::Used),
        ("x", 1000, NonceState::Unknown),
    ] {
        let found = nonces::consume(&mut transaction, nonce, "kid", "cnf", at).await.unwrap();
        assert_eq!(found, state, "{nonce} at {at}");
    }
    // Whatever the clock says, a used one stays used until it is forgotten.
    nonces::tidy(&mut transaction, 2000).await.unwrap();
    for nonce in ["a", "d"] {
        let found = nonces::consume(&mut transaction, nonce, "kid", "cnf", 1000).await.unwrap();
        assert_eq!(found, NonceState::Unknown, "{nonce}");
    }
    commit(transaction).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_strangers_does_not_take_an_approved_keys_nonces() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let approved = host.fingerprint();
    let mut transaction = installation.server.store.write().await.unwrap();
    nonces::add(&mut transaction, "mine", &approved, "cnf", 1000).await.unwrap();
    nonces::add(&mut transaction, "oldest", "stranger", "cnf", 1000).await.unwrap();
    for number in 0..2048 {
        let (nonce, kid) = (format!("n{number}"), format!("stranger-{number}"));
        nonces::add(&mut transaction, &nonce, &kid, "cnf", 1001).await.unwrap();
    }
    nonces::tidy(&mut transaction, 1001).await.unwrap();
    let mut state =
        async |nonce, kid: &str| nonces::consume(&mut transaction, nonce, kid, "cnf", 1002).await.unwrap();
    assert_eq!(state("mine", &approved).await, NonceState::Fresh);
    assert_eq!(state("oldest", "stranger").await, NonceState::Unknown);
    assert_eq!(state("n2047", "stranger-2047").await, NonceState::Fresh);
}

#[tokio::test]
async fn a_flood_of_challenges_is_tidied_up_as_it_comes() {
    let installation = Installation::new().await;
    let stranger = attestation::base64url::encode(&[7; 32]);
    for _ in 0..2300 {
        installation.challenge(&stranger, &stranger).await;
    }
    let mut connection = installation.server.store.read_once().await.unwrap();
    let strangers = "SELECT COUNT(*) FROM nonces WHERE share = ''";
    let held: i64 = sqlx::query_scalar(strangers).fetch_one(&mut *connection).await.unwrap();
    let held = u64::try_from(held).unwrap();
    assert!((2048..=2048 + nonces::TIDY_EVERY).contains(&held), "{held}");
}
