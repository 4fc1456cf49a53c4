//! From outside a process looks as it sees itself.

use attestation::component::Component;
use measurement::peer::Connected;

use crate::stage::{Client, NOBODY, Stage, component, measure};

fn from_inside(client: &mut Client, configuration: &str) -> Component {
    serde_json::from_str(&client.tell(&format!("measure {configuration}"))).unwrap()
}

#[test]
fn a_process_is_measured_from_outside_as_it_measures_itself() {
    let stage = Stage::new();
    let declared = stage.file("app.conf", b"setting");
    let linked = stage.path("linked.conf");
    std::os::unix::fs::symlink("app.conf", &linked).unwrap();
    for uid in [0, NOBODY] {
        let mut command = stage.command();
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, uid);
        command.env("LD_LIBRARY_PATH", "/nonexistent").env("UNRELATED", "x");
        let mut client = stage.run(command);
        client.tell("load libm.so.6");
        client.tell("map-anonymous");
        client.tell("no-new-privileges");
        let confirmed = client.confirm();
        let inside = from_inside(&mut client, linked.to_str().unwrap());
        let measurement = measure(&confirmed, std::slice::from_ref(&linked)).unwrap();
        assert_eq!(measurement.component, inside);
        assert_eq!(measurement.component.measurement_digest(), inside.measurement_digest());
        // That it says something at all.
        assert_eq!((inside.principal.uid, inside.principal.gid), (uid, uid));
        assert_eq!(inside.configuration[0].path, declared.to_str().unwrap());
        assert_eq!(inside.environment["LD_LIBRARY_PATH"], "/nonexistent");
        assert!(inside.mappings.iter().any(|file| file.path.contains("/libm.so.6")));
        assert_eq!((inside.runtime.anonymous_executable, inside.runtime.modified_text_pages), (1, 0));
    }
}

#[test]
fn what_is_not_dumpable_is_measured_all_the_same_and_said_so_where_it_can_be_seen() {
    let stage = Stage::new();
    let mut client = stage.start_as(NOBODY);
    assert!(component(&client.confirm()).runtime.dumpable);
    client.tell("not-dumpable");
    assert!(!component(&client.confirm()).runtime.dumpable);
    // Of a process of root it cannot be seen.
    let mut client = stage.start();
    client.tell("not-dumpable");
    assert!(component(&client.confirm()).runtime.dumpable);
}

#[test]
fn a_process_with_several_users_is_refused() {
    let stage = Stage::new();
    for command in ["effective-user 65534", "thread-becomes 65534"] {
        let mut client = stage.start();
        let confirmed = client.confirmed(Connected::of).unwrap();
        let before = confirmed.look(&[]).unwrap();
        client.tell(command);
        for result in [confirmed.look(&[]), measure(&confirmed, &[]).map(|_| before)] {
            assert!(
                matches!(result, Err(measurement::MeasurementError::MixedCredentials)),
                "{command}: {result:?}"
            );
        }
    }
}
