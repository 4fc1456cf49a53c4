//! The function lists and interfaces, read by a program in C whose declarations are its own: every entry lies where the
//! standard has it, and none is NULL.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use cryptoki_sys::*;
use e2e::{Mode, Watched, client};

/// Where the bindings that the shim is made with have the entries of a list.
macro_rules! offsets {
    (
        V2_40 { $($first:ident: $first_class:ident $(($($first_use:ident),+))?, $first_arguments:tt;)* }
        V3_0 { $($second:ident: $second_class:ident $(($($second_use:ident),+))?, $second_arguments:tt;)* }
        V3_2 { $($third:ident: $third_class:ident $(($($third_use:ident),+))?, $third_arguments:tt;)* }
    ) => {
        fn of_2_40() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($first), offset_of!(CK_FUNCTION_LIST, $first))),*]
        }

        fn of_3_0() -> Vec<(&'static str, usize)> {
            vec![
                $((stringify!($first), offset_of!(CK_FUNCTION_LIST_3_0, $first)),)*
                $((stringify!($second), offset_of!(CK_FUNCTION_LIST_3_0, $second)),)*
            ]
        }

        fn of_3_2() -> Vec<(&'static str, usize)> {
            vec![
                $((stringify!($first), offset_of!(CK_FUNCTION_LIST_3_2, $first)),)*
                $((stringify!($second), offset_of!(CK_FUNCTION_LIST_3_2, $second)),)*
                $((stringify!($third), offset_of!(CK_FUNCTION_LIST_3_2, $third)),)*
            ]
        }
    };
}

pkcs11_table::pkcs11_functions!(offsets);

#[test]
fn a_program_in_c_finds_every_function_where_the_standard_has_it() {
    let watched = Watched::up(Mode::Inline);
    let reader = watched.stack.file("reader");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("abi/reader.c");
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=gnu11", "-Wall", "-Werror", "-o"]).arg(&reader).arg(source).arg("-ldl");
    client::run(&mut compiler).must_succeed();

    let mut command = watched.application("reader", &reader);
    let finished = client::run(command.arg(watched.stack.shim())).must_succeed();
    let output = String::from_utf8(finished.stdout).unwrap();
    let sizes =
        [size_of::<CK_FUNCTION_LIST>(), size_of::<CK_FUNCTION_LIST_3_0>(), size_of::<CK_FUNCTION_LIST_3_2>()];
    let mut lines = output.lines();
    assert_eq!(lines.next().unwrap(), format!("sizes {} {} {}", sizes[0], sizes[1], sizes[2]));

    let mut lists: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    let mut interfaces = Vec::new();
    for line in lines {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [version, "interface", size, "flags", flags] => interfaces.push((version, size, flags)),
            [version, name, offset, what] => {
                // The lists of 3.x tell another version of the library.
                let is_of_3 = version.starts_with('3');
                let expected = if is_of_3 && name == "C_GetInfo" { "other" } else { "symbol" };
                assert_eq!(what, expected, "{line}");
                lists.entry(version).or_default().push((name, offset.parse().unwrap()));
            }
            _ => panic!("{line}"),
        }
    }
    let size = size_of::<CK_INTERFACE>().to_string();
    let versions = ["2.40", "3.0", "3.1", "3.2"];
    assert_eq!(interfaces, versions.map(|version| (version, size.as_str(), "0")));
    assert_eq!(lists["list"], of_2_40());
    assert_eq!(lists["2.40"], of_2_40());
    assert_eq!(lists["3.0"], of_3_0());
    assert_eq!(lists["3.1"], of_3_0());
    assert_eq!(lists["3.2"], of_3_2());
    assert_eq!((lists["2.40"].len(), lists["3.0"].len(), lists["3.2"].len()), (68, 92, 104));
}
