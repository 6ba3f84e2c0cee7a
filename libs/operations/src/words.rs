//! What a word is, and where a text may be cut without touching one.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_segmentation::UnicodeSegmentation;

/// White space by its property, yet part of a word by UAX #29 (WB13a, WB13b: it groups digits, as in `1 000`).
const NARROW_NO_BREAK_SPACE: char = '\u{202F}';

/// The words of a text, in order, each in the form in which it is counted.
///
/// A word is a segment between two word boundaries (Unicode Standard Annex #29, default rules) with at least one
/// alphanumeric character. `don't`, `naïve` and `3.14` are one word each; quotes, dashes and emoji are none. Its form is
/// NFC and lower-case, by Unicode's full mapping including the final sigma.
pub fn words(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.unicode_words().map(normalised)
}

/// Borrowed when nothing changes, which is nearly every word of most texts.
fn normalised(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return match word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(word.to_ascii_lowercase()),
            false => Cow::Borrowed(word),
        };
    }
    let lower = nfc(Cow::Borrowed(word)).to_lowercase();
    // Lower-casing can make a composition possible that the capital does not have: Ϊ + ´ has none, ϊ + ´ is ΐ.
    nfc(Cow::Owned(lower))
}

fn nfc(word: Cow<'_, str>) -> Cow<'_, str> {
    if is_nfc(&word) { word } else { Cow::Owned(word.nfc().collect()) }
}

/// Cuts a text into consecutive parts of nearly equal size in bytes; the words of the parts are the words of the text.
///
/// An element of a text is a run of characters that are not white space (U+202F counts as none, as it stands inside
/// words). Every part but that of a text without elements
/// has one or more of them, so that there are as many parts as wished unless there are fewer elements.
/// Takes linear time, and memory only for the parts.
pub fn scatter_text(text: &str, parts: NonZeroUsize) -> Vec<&str> {
    let all_cuts = cuts(text).count();
    let parts = parts.get().min(all_cuts + 1);
    let mut scattered = Vec::with_capacity(parts);
    let mut cuts = cuts(text).zip(1..).peekable();
    let mut start = 0;
    for parts_left in (2..=parts).rev() {
        let Some((mut end, _)) = cuts.next() else { break };
        let ideal = start + (text.len() - start) / parts_left;
        let is_better = |next: usize, end: usize| next.abs_diff(ideal) <= end.abs_diff(ideal);
        let leaves_enough = |taken: usize| all_cuts - taken >= parts_left - 2;
        while let Some((next, _)) = cuts.next_if(|(next, taken)| is_better(*next, end) && leaves_enough(*taken)) {
            end = next;
        }
        scattered.push(&text[start..end]);
        start = end;
    }
    scattered.push(&text[start..]);
    scattered
}

/// The places between elements, each immediately before the white space that follows an element.
///
/// Cutting there changes no word. The rules are those of UAX #29:
/// - It is a word boundary in the text already. Before CR, LF and Newline by WB3a (WB3 needs a CR before it). Before
///   other white space by WB999: WB3c and WB4 keep only pictographs, Extend, Format and ZWJ with what they follow, WB3d
///   only white space with white space, and WB5 to WB16 name no white space but U+202F, which [`separates`] leaves out.
/// - The left part decides as before. WB6, WB7b and WB12 look past a mark such as an apostrophe for a letter or a digit.
///   In the text they find white space there, in the part its end, and fail on both.
/// - The right part decides as before. It begins with the white space, which keeps the combining marks that are on it
///   (WB4); that is why the cut is not behind it. And no rule looks back across white space: WB7, WB7c and WB11 need a
///   letter or digit there, WB15 and WB16 count regional indicators that are not interrupted.
/// - Normal form and lower case, with it the final sigma, belong to each word by itself.
fn cuts(text: &str) -> impl Iterator<Item = usize> {
    let mut in_element = false;
    let mut after_element = None;
    text.char_indices().filter_map(move |(position, character)| {
        if separates(character) {
            if in_element {
                after_element = Some(position);
            }
            in_element = false;
            None
        } else {
            in_element = true;
            after_element.take()
        }
    })
}

fn separates(character: char) -> bool {
    character.is_whitespace() && character != NARROW_NO_BREAK_SPACE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::properties::{elements_of, nasty_text, some_parts};
    use proptest::prelude::*;

    fn words_of(text: &str) -> Vec<String> {
        words(text).map(Cow::into_owned).collect()
    }

    fn scatter(text: &str, parts: usize) -> Vec<&str> {
        scatter_text(text, NonZeroUsize::new(parts).unwrap())
    }

    #[test]
    fn apostrophes_accents_and_separated_digits_are_inside_words() {
        assert_eq!(
            words_of("Don't be naïve: 3.14, 1,000; e.g. l’été"),
            ["don't", "be", "naïve", "3.14", "1,000", "e.g", "l’été"]
        );
    }

    #[test]
    fn quotes_dashes_and_pictures_are_no_words() {
        assert_eq!(words_of("“A” – a!—‘a’ … 😀 👩\u{200D}🚀 «a»"), ["a", "a", "a", "a"]);
    }

    #[test]
    fn composed_and_decomposed_are_the_same_word() {
        assert_eq!(words_of("NAI\u{308}VE naïve"), ["naïve", "naïve"]);
        assert_eq!(words_of("Ϊ\u{301} ϊ\u{301} ΐ J\u{30C} ǰ"), ["ΐ", "ΐ", "ΐ", "ǰ", "ǰ"]);
    }

    #[test]
    fn lower_case_is_unicodes_full_mapping() {
        assert_eq!(
            words_of("ΟΔΟΣ Σ ΣΑΣ STRASSE Straße ÉTÉ МИР İ"),
            ["οδος", "σ", "σας", "strasse", "straße", "été", "мир", "i\u{307}"]
        );
    }

    #[test]
    fn a_narrow_no_break_space_groups_digits_and_is_no_place_to_cut() {
        assert_eq!(words_of("1\u{202F}000 km"), ["1\u{202F}000", "km"]);
        assert_eq!(scatter("1\u{202F}000 km", 9), ["1\u{202F}000", " km"]);
    }

    #[test]
    fn a_mark_on_a_space_stays_with_the_space() {
        assert_eq!(scatter("a \u{345}b c", 9), ["a", " \u{345}b", " c"]);
    }

    #[test]
    fn white_space_at_either_end_makes_no_part() {
        assert_eq!(scatter("  a \r\n b\t", 9), ["  a", " \r\n b\t"]);
        assert_eq!(scatter(" \n ", 9), [" \n "]);
        assert_eq!(scatter("", 9), [""]);
    }

    #[test]
    fn parts_are_nearly_equal_in_bytes() {
        let text = "aa bbbb c dddddd ee ".repeat(500);
        let longest_element = " dddddd".len();
        for parts in [2, 3, 7, 64] {
            let scattered = scatter(&text, parts);
            assert_eq!(scattered.len(), parts);
            for part in scattered {
                assert!(part.len().abs_diff(text.len() / parts) <= longest_element, "{parts} {}", part.len());
            }
        }
    }

    #[test]
    fn one_giant_element_does_not_starve_the_parts_around_it() {
        let text = format!("a b {} c d e f g h", "x".repeat(1000));
        assert_eq!(scatter(&text, 9).len(), 9);
        let lengths: Vec<_> = scatter(&text, 4).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [3, 1001, 6, 6]);
    }

    proptest! {
        #[test]
        fn a_text_cut_anywhere_has_the_same_words(text in nasty_text(), parts in some_parts()) {
            let scattered = scatter_text(&text, parts);
            prop_assert_eq!(scattered.concat(), text.as_str());
            prop_assert_eq!(scattered.len(), parts.get().min(elements_of(&text)).max(1));
            let words_of_parts: Vec<_> = scattered.iter().flat_map(|part| words_of(part)).collect();
            prop_assert_eq!(words_of_parts, words_of(&text));
        }

        #[test]
        fn the_form_of_a_word_is_final(text in nasty_text()) {
            for word in words(&text) {
                prop_assert!(is_nfc(&word));
                prop_assert_eq!(word.to_lowercase(), word.as_ref());
            }
        }
    }
}
