//! Text for people.

use console::measure_text_width;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

/// What others wrote must not steer the terminal, or show in another order than it has: control characters go, and those
/// that turn the direction ([Trojan Source](https://trojansource.codes/)).
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether a character does something to a terminal but to begin a line or to indent.
pub fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() && c != '\n' && c != '\t' || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The same in one line.
pub fn one_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

/// What fits into so many columns; what does not ends with `…`. Wide characters count as two.
pub fn cut(text: &str, columns: usize) -> String {
    if measure_text_width(text) <= columns {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += measure_text_width(c.encode_utf8(&mut [0; 4]));
        if used > columns {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// A line as it is if it fits into so many columns; else broken between words.
pub fn within(line: &str, columns: usize) -> String {
    if measure_text_width(line) <= columns {
        return format!("{line}\n");
    }
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    wrapped(line, columns, &indent)
}

/// Lines of at most so many columns, broken between words, each indented.
pub fn wrapped(text: &str, columns: usize, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.len() == indent.len() {
            line.push_str(word);
        } else if measure_text_width(line) + 1 + measure_text_width(word) <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("{indent}{word}"));
        }
    }
    lines.join("\n") + "\n"
}

/// A point in time as short as it can be: today only the time of day.
pub fn clock(time: &Value) -> String {
    let Some(time) = time.as_str().and_then(|time| time.parse::<Timestamp>().ok()) else { return "-".to_owned() };
    let here = TimeZone::system();
    let (time, now) = (time.to_zoned(here.clone()), Timestamp::now().to_zoned(here));
    let format = if time.date() == now.date() { "%H:%M:%S" } else { "%b %d %H:%M" };
    time.strftime(format).to_string()
}

/// A duration in milliseconds as people say it.
pub fn milliseconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |milliseconds| seconds(milliseconds / 1000.0))
}

/// A duration in seconds as people say it.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.01 => format!("{:.1} ms", seconds * 1000.0),
        0.01..1.0 => format!("{:.0} ms", seconds * 1000.0),
        1.0..60.0 => format!("{seconds:.1} s"),
        60.0..3600.0 => format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor()),
        _ => format!("{:.0} h {:02.0} min", (seconds / 3600.0).floor(), (seconds % 3600.0 / 60.0).floor()),
    }
}

/// A count with its digits in groups, so that millions can be read; anything else as it is.
pub fn number(value: &Value) -> String {
    let Some(count) = value.as_u64() else { return one_line(&value.to_string()) };
    let digits = count.to_string();
    let group = |(at, digit): (usize, char)| {
        let gap = at > 0 && (digits.len() - at).is_multiple_of(3) && digits.len() > 4;
        gap.then_some(' ').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_wrote_steers_no_terminal() {
        assert_eq!(
            harmless("\u{1b}[31mred\n\u{9b}2J\ta\u{202e}b\r\u{7}"),
            "\u{fffd}[31mred\n\u{fffd}2J\ta\u{fffd}b\u{fffd}\u{fffd}"
        );
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(harmless("naïve 漢字 🙂"), "naïve 漢字 🙂");
    }

    #[test]
    fn what_is_cut_fits_and_says_that_it_is_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 11, "  "), "  one two\n  three\n");
        assert_eq!(wrapped("unbreakable", 4, "  "), "  unbreakable\n");
        assert_eq!(within("  a  b", 6), "  a  b\n");
        assert_eq!(within("  a  bc", 6), "  a bc\n");
        assert_eq!(within("  ab cd", 6), "  ab\n  cd\n");
    }

    #[test]
    fn durations_and_counts_are_said_as_people_say_them() {
        for (milliseconds_, said) in [
            (json!(0.25), "0.2 ms"),
            (json!(13.4), "13 ms"),
            (json!(1500), "1.5 s"),
            (json!(61_000), "1 min 01 s"),
            (json!(7_260_000), "2 h 01 min"),
            (json!(null), "-"),
        ] {
            assert_eq!(milliseconds(&milliseconds_), said);
        }
        for (count, said) in
            [(json!(0), "0"), (json!(1234), "1234"), (json!(12345), "12 345"), (json!(1_234_567), "1 234 567")]
        {
            assert_eq!(number(&count), said);
        }
    }

    #[test]
    fn a_time_of_another_day_has_its_date() {
        assert!(clock(&json!("2001-02-03T12:05:06Z")).starts_with("Feb 0"));
        assert_eq!(clock(&json!(Timestamp::now().to_string())).len(), "12:34:56".len());
        assert_eq!(clock(&json!(null)), "-");
    }
}
