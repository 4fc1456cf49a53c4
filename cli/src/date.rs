//! Seconds since 1970 for people, and the HTTP date of a server's answer. Always UTC: hosts differ.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 by this machine's clock; 0 where it stands before that.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-11-24 05:29:14 UTC`.
pub fn utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / DAY);
    let rest = seconds % DAY;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

/// How long ago, or how far ahead, in the largest unit that fits.
pub fn relative(seconds: u64, now: u64) -> String {
    let distance = seconds.abs_diff(now);
    let (count, unit) = match distance {
        0..120 => (distance, "s"),
        120..7200 => (distance / 60, "min"),
        7200..172_800 => (distance / 3600, "h"),
        _ => (distance / DAY, "days"),
    };
    if seconds <= now { format!("{count} {unit} ago") } else { format!("in {count} {unit}") }
}

/// Seconds since 1970 of an IMF-fixdate (RFC 9110 section 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn from_http(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    if parts.next() != Some("GMT") || year < 1970 || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, u64::try_from(month).ok()? + 1, day)?;
    Some(days * DAY + hours * 3600 + minutes * 60 + seconds)
}

/// A moment as people give it: a span from now (`30d`, `12h`, `90min`), a day that is included (`2026-12-31`, UTC), or
/// RFC 3339's `2026-12-31T18:00:00Z`, also with an offset such as `+02:00`.
pub fn from_people(text: &str, now: u64) -> Option<u64> {
    let text = text.trim();
    for (unit, seconds) in [("min", 60), ("h", 3600), ("d", DAY)] {
        if let Some(count) = text.strip_suffix(unit) {
            return now.checked_add(number(count)?.checked_mul(seconds)?);
        }
    }
    let Some((day, clock)) = text.split_once(['T', 't', ' ']) else {
        return day_of(text)?.checked_add(DAY);
    };
    let (clock, offset) = split_offset(clock)?;
    let mut parts = clock.split(':').map(number);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let local = day_of(day)?.checked_add(hours * 3600 + minutes * 60 + seconds)?;
    local.checked_add_signed(-offset)
}

/// The clock's part and how many seconds it is ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let (clock, offset) = text.split_at(text.rfind(['+', '-'])?);
    let (sign, rest) = (if offset.starts_with('-') { -1 } else { 1 }, offset.get(1..)?);
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some((clock, sign * i64::try_from(hours * 3600 + minutes * 60).ok()?))
}

fn day_of(text: &str) -> Option<u64> {
    let mut parts = text.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    // A day that the month has not comes back as another one.
    (civil(days) == (year, month, day)).then_some(days * DAY)
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The day of the proleptic Gregorian calendar, counted in 400-year eras that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn http_dates() {
        assert_eq!(from_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(from_http("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Xyz 1994 08:49:37 GMT",
        ] {
            assert_eq!(from_http(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        for (text, expected) in [
            ("30d", 1000 + 30 * DAY),
            ("12h", 1000 + 12 * 3600),
            ("90min", 1000 + 5400),
            ("2024-02-29", 1_709_164_800 + DAY),
            ("2024-02-29T01:02:03Z", 1_709_164_800 + 3723),
            ("2024-02-29T01:02:03+02:00", 1_709_164_800 + 3723 - 7200),
            ("2024-02-29 01:02:03-00:30", 1_709_164_800 + 3723 + 1800),
        ] {
            assert_eq!(from_people(text, 1000), Some(expected), "{text}");
        }
        for text in [
            "",
            "d",
            "-1d",
            "+1d",
            "1.5h",
            "30",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-1-1-1",
            "2024-02-29T25:00:00Z",
            "2024-02-29T01:02:03",
            "2024-02-29T01:02Z",
            "tomorrow",
            "99999999999999999999d",
            "1970-01-01T00:00:00+23:00",
        ] {
            assert_eq!(from_people(text, 1000), None, "{text}");
        }
    }

    #[test]
    fn distances_read_well() {
        assert_eq!(relative(1000, 1000), "0 s ago");
        assert_eq!(relative(1000, 1300), "5 min ago");
        assert_eq!(relative(10_000, 0), "in 2 h");
        assert_eq!(relative(0, 20 * DAY), "20 days ago");
    }
}
