//! The canonical form of JSON (RFC 8785), for the values that occur here: objects, arrays, strings, booleans and
//! integers below 2^53. It is what the measurement digest and key thumbprints are computed over.

use serde_json::Value;

/// Members sorted by their UTF-16 code units, no white space.
pub(crate) fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(elements) => {
            write_list(out, ('[', ']'), elements, write);
        }
        Value::Object(members) => {
            // Sorted here, so that no feature of serde_json (`preserve_order`) can change the digest.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            write_list(out, ('{', '}'), members, |(name, value), out| {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string())
        }
    }
}

fn write_list<T>(
    out: &mut String,
    (open, close): (char, char),
    items: impl IntoIterator<Item = T>,
    write_item: impl Fn(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_item(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_and_white_space_is_gone() {
        let value = json!({"b": [1, true, null, {}], "a": {"z": "\u{1}\n\"é", "y": []}, "": -3});
        assert_eq!(
            to_string(&value),
            "{\"\":-3,\"a\":{\"y\":[],\"z\":\"\\u0001\\n\\\"é\"},\"b\":[1,true,null,{}]}"
        );
    }

    #[test]
    fn sorting_is_by_utf_16_code_units() {
        // RFC 8785 section 3.2.3: U+10000 is D800 DC00 in UTF-16 and sorts before U+FB33.
        assert_eq!(to_string(&json!({"\u{fb33}": 1, "\u{10000}": 2})), "{\"\u{10000}\":2,\"\u{fb33}\":1}");
    }
}
