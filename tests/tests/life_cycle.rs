//! The life that real applications have: they initialise from many threads and many times, unload, offer mutexes of their
//! own, forbid threads, and end anyhow. The same program sees the same on the vendor's module, or better.

use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::{Application, Approval, Finished, Mode, Spied, Stack, Tool};

e2e::in_modes! {
    both: [
        of_many_that_initialise_at_once_one_does,
        threads_that_were_not_promised_may_look_for_slots,
        a_process_that_initialises_again_and_again_does_not_grow,
        users_of_one_process_share_one_library,
        a_library_that_was_closed_and_opened_again_goes_on,
        arguments_of_initialising_come_to_the_same_as_directly,
        attesting_and_signing_make_no_thread,
        threads_that_share_a_session_do_not_meet_in_a_module_for_one,
        threads_that_end_may_call_to_the_last,
        processes_end_as_they_do_directly,
        a_process_may_end_while_a_thread_attests,
        a_client_signs_whose_allocator_is_not_the_c_librarys,
    ],
}

fn of_many_that_initialise_at_once_one_does(mode: Mode) {
    let stack = Stack::up(mode);
    Application::approved(&stack).must_play(&["initialise-at-once"]);
}

fn threads_that_were_not_promised_may_look_for_slots(mode: Mode) {
    let stack = Stack::up(mode);
    let application = Application::compiled(&stack);
    for _ in 0..5 {
        application.on_both(&["promise-one-thread"]).into_iter().for_each(|finished| {
            finished.must_succeed();
        });
    }
}

fn a_process_that_initialises_again_and_again_does_not_grow(mode: Mode) {
    let stack = Stack::up(mode);
    let growth = |finished: Finished| -> (i64, i64) {
        let text = finished.must_succeed().text();
        let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
        (numbers.next().expect("KiB"), numbers.next().expect("mappings"))
    };
    let application = Application::approved(&stack);
    let [direct, shimmed] = application.on_both(&["again-and-again", "400"]).map(growth);
    // An instance is more than 10 KiB: 300 of them would not go unseen.
    assert!(shimmed.0 < direct.0 + 1024, "KiB, mappings: directly {direct:?}, through the shim {shimmed:?}");
    assert!(shimmed.1 < direct.1 + 8, "KiB, mappings: directly {direct:?}, through the shim {shimmed:?}");
}

fn users_of_one_process_share_one_library(mode: Mode) {
    let stack = Stack::up(mode);
    let [direct, shimmed] = Application::approved(&stack).on_both(&["several-users"]);
    assert_eq!(direct.must_succeed().text(), shimmed.must_succeed().text());
}

fn a_library_that_was_closed_and_opened_again_goes_on(mode: Mode) {
    let stack = Stack::up(mode);
    Application::approved(&stack).must_play(&["unload-and-load"]);
}

fn arguments_of_initialising_come_to_the_same_as_directly(mode: Mode) {
    let stack = Stack::up(mode);
    let [direct, shimmed] = Application::approved(&stack).on_both(&["mutexes"]);
    let (direct, shimmed) = (direct.must_succeed().text(), shimmed.must_succeed().text());
    match mode {
        Mode::Inline => assert_eq!(direct, shimmed),
        // The real module is in another process, and has no use for the application's mutexes.
        Mode::Guarded => assert_eq!(without_mutexes(&direct), without_mutexes(&shimmed)),
    }
    assert!(direct.lines().any(|line| line.contains("mutexes made, locked once at least")), "{direct}");
    assert!(direct.lines().any(|line| line.contains("C_Initialize 0x7")), "{direct}");
}

/// What was answered, without what was done with mutexes.
fn without_mutexes(text: &str) -> Vec<String> {
    let answers = |line: &str| {
        let parts =
            line.split(", ").filter(|part| !part.starts_with("mutexes") && !part.starts_with("locked"));
        parts.collect::<Vec<_>>().join(", ")
    };
    text.lines().map(answers).collect()
}

fn attesting_and_signing_make_no_thread(mode: Mode) {
    let stack = Stack::up(mode);
    let application = Application::compiled(&stack);
    // The filter by which it forbids threads is part of what is approved.
    application.approve(&mut application.scene(stack.shim(), &["no-thread-is-made"]));
    application.must_play(&["no-thread-is-made"]);
}

/// Where the application says that it has several, calls that leave the session as it is meet in the module, and the module
/// sees to that; not in a guard's worker, whose memory is not the application's to disturb.
fn threads_that_share_a_session_do_not_meet_in_a_module_for_one(mode: Mode) {
    let stack = Stack::up(mode);
    let application = Application::compiled(&stack);
    let spied = Spied::on(&stack, "meeting", &[("SPY_MEETS", "C_GenerateRandom")], |text| text);
    let at_the_spy = spied.environment(&stack, "meeting");
    let met = |number| {
        let mut scene = application.scene(stack.shim(), &["share-a-session", number]);
        run(scene.envs(&at_the_spy)).must_succeed().text()
    };
    assert_eq!(met("0"), "0 met another\n");
    let several = match mode {
        Mode::Inline => "2 met another\n",
        Mode::Guarded => "0 met another\n",
    };
    assert_eq!(met("1"), several);
}

fn threads_that_end_may_call_to_the_last(mode: Mode) {
    let stack = Stack::up(mode);
    Application::approved(&stack).must_play(&["thread-local"]);
}

/// Each by its number: nobody finalises; a handler at exit does so that was registered before the module was initialised, or
/// after; one does while other threads are inside calls; a thread outlives the main one.
fn processes_end_as_they_do_directly(mode: Mode) {
    let stack = Stack::up(mode);
    let application = Application::approved(&stack);
    for kind in ["0", "2", "3", "6"] {
        let [direct, shimmed] = application.on_both(&["ending", kind]);
        assert_eq!(direct.must_succeed().text(), shimmed.must_succeed().text(), "{kind}");
    }
    // Directly, SoftHSM crashes more often than not.
    let text = application.must_play(&["ending", "5"]).text();
    assert_eq!(text, "main returns\nC_Finalize at exit: 0\n");
}

fn a_process_may_end_while_a_thread_attests(mode: Mode) {
    let stack = Stack::up(mode);
    let (configuration, port) = stack.silent_configuration();
    let application = Application::compiled(&stack);
    // A guard attests where the application logs in.
    let kind = if mode == Mode::Inline { "7" } else { "8" };
    let mut scene = application.scene(stack.shim(), &["ending", kind, &port.to_string()]);
    assert_eq!(run(scene.env("TRUSTSHIM_CONFIG", configuration)).must_succeed().text(), "main ends\n");
}

fn a_client_signs_whose_allocator_is_not_the_c_librarys(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "tool");
    let preloaded = || {
        let mut command = tool.sign_command();
        command.env("LD_PRELOAD", "libjemalloc.so.2");
        command
    };
    tool.must_be_refused(&mut preloaded());
    let measured = stack.explain_last().to_string();
    assert!(measured.contains("libjemalloc.so.2"), "it was not preloaded: {measured}");
    stack.approve_last(&Approval::of("tool", DEMO_EC, "sign").with(&["--any-arguments"]));
    tool.must_sign(&mut preloaded());
}
