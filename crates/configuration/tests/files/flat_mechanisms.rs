//! The mechanisms that are called flat: in the files of those who gate, by numbers of vendors' own, and nowhere else.

use configuration::{ConfigurationError, Loaded, load_from, load_guard};

use crate::{REST, written};

const INLINE: &str = "mode = \"inline\"\n";
const GUARDED: &str = "mode = \"guarded\"\n";

/// What the file of either kind has with this in `[gate]`; it has to be the same.
fn flat(setting: &str) -> Result<Vec<u64>, ConfigurationError> {
    let (_directory, path) = written(format!("{INLINE}{REST}[gate]\n{setting}\n"));
    let inline = load_from(&path).map(|loaded| match loaded {
        Loaded::Inline(configuration) => configuration.gate.flat_mechanisms,
        other @ Loaded::Guarded(_) => panic!("{other:?}"),
    });
    let (_directory, path) = written(format!("{GUARDED}{REST}[gate]\n{setting}\n"));
    let guard = load_guard(&path).map(|guard| guard.configuration.gate.flat_mechanisms);
    assert_eq!(inline.as_ref().ok(), guard.as_ref().ok(), "{setting}");
    inline.map(|flat| flat.numbers().to_vec())
}

fn list(numbers: impl Iterator<Item = u64>) -> String {
    format!("flat_mechanisms = {:?}", numbers.map(|number| format!("{number:#x}")).collect::<Vec<_>>())
}

#[test]
fn numbers_are_written_as_numbers_or_as_hexadecimal_texts() {
    for (setting, numbers) in [
        ("", vec![]),
        ("flat_mechanisms = []", vec![]),
        ("flat_mechanisms = [\"0x80000101\"]", vec![0x8000_0101]),
        ("flat_mechanisms = [0x80000101, 2147483648]", vec![0x8000_0000, 0x8000_0101]),
        ("flat_mechanisms = [\"0xCE534351\", 0x8000_0101]", vec![0x8000_0101, 0xce53_4351]),
        ("flat_mechanisms = [\"0xffffffff\"]", vec![0xffff_ffff]),
    ] {
        assert_eq!(flat(setting).unwrap(), numbers, "{setting}");
    }
    let most = (0..64).map(|number| 0x8000_0000 | number);
    assert_eq!(flat(&list(most.clone().rev())).unwrap(), most.collect::<Vec<_>>());
}

#[test]
fn what_is_no_mechanism_of_a_vendor_is_there_twice_or_too_much_is_refused() {
    let many = list((0..65).map(|number| 0x8000_0000 | number));
    for (setting, word) in [
        // The standard's CKM_HKDF_DERIVE, whose parameter names a key; and what the standard may yet have.
        ("flat_mechanisms = [0x402a]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [\"0x402a\"]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [\"0x7fffffff\"]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [\"0x180000101\"]", "32 bits"),
        ("flat_mechanisms = [\"0x80000101\", 1]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [-2147483648]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [\"2147483905\"]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [\"CKM_AES_CBC\"]", "CKM_VENDOR_DEFINED"),
        ("flat_mechanisms = [\"0x80000101\", 0x80000101]", "twice"),
        (&many, "64"),
    ] {
        let error = flat(setting).unwrap_err();
        let is_about = matches!(error, ConfigurationError::Value { key: "gate.flat_mechanisms", .. });
        assert!(is_about && error.to_string().contains(word), "{setting}: {error}");
    }
    for setting in ["flat_mechanisms = \"0x80000101\"", "flat_mechanisms = [1.5]", "flat_mechanisms = [true]"]
    {
        let error = flat(setting).unwrap_err();
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{setting}: {error}");
    }
}

/// What an application says of its guard's token counts for nothing, so it must not look as if it did.
#[test]
fn an_applications_file_of_guarded_mode_does_not_say_it() {
    let (_directory, path) = written(format!("{GUARDED}[gate]\nflat_mechanisms = [\"0x80000101\"]\n"));
    let error = load_from(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::Syntax { .. }), "{error}");
}
