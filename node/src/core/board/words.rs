//! An inverted index: for each word where it stands in which text, for all words of a query at
//! once and for phrases.
//!
//! Texts are numbered by whoever owns them, each with a larger number than the one before.
//! Removed ones stay until [`Words::renumber`]; whoever asks passes them over.

use std::collections::BTreeMap;
use std::ops::Range;

use super::query::Query;

/// Bytes of a word that count: longer ones are data, and found by their beginning all the same.
const MAX_WORD_BYTES: usize = 48;

/// A word's place: the text's number, then the place in the text. Below 2^12 words fit 4 KiB.
type Place = u64;

const PLACE_BITS: u32 = 16;

/// The words of a text in lower case: runs of letters and digits; of scripts without spaces each
/// character.
pub fn split(text: &str) -> impl Iterator<Item = String> {
    let mut chars = text.chars().peekable();
    std::iter::from_fn(move || {
        while chars.next_if(|c| !c.is_alphanumeric()).is_some() {}
        let first = chars.next()?;
        let mut word = String::new();
        push(&mut word, first);
        if !is_word_itself(first) {
            while let Some(c) = chars.next_if(|c| c.is_alphanumeric() && !is_word_itself(*c)) {
                push(&mut word, c);
            }
        }
        Some(word)
    })
}

fn push(word: &mut String, c: char) {
    if word.len() < MAX_WORD_BYTES {
        word.extend(c.to_lowercase());
    }
}

/// Chinese and Japanese, which are written without spaces.
fn is_word_itself(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

/// The index.
#[derive(Debug, Default)]
pub struct Words {
    places: BTreeMap<Box<str>, Vec<Place>>,
}

fn place(text: u32, at: usize) -> Place {
    let at = u64::try_from(at).unwrap_or(u64::MAX);
    (u64::from(text) << PLACE_BITS) | at.min((1 << PLACE_BITS) - 1)
}

fn text_of(place: Place) -> u32 {
    u32::try_from(place >> PLACE_BITS).expect("a text's number is in the upper bits")
}

impl Words {
    /// Adds a text. Its number is larger than any before.
    pub fn add(&mut self, number: u32, text: &str) {
        for (at, word) in split(text).enumerate() {
            let place = place(number, at);
            match self.places.get_mut(word.as_str()) {
                Some(places) => places.push(place),
                None => {
                    self.places.insert(word.into(), vec![place]);
                }
            }
        }
    }

    /// Gives every text another number, in the same order, or forgets it.
    pub fn renumber(&mut self, number: impl Fn(u32) -> Option<u32>) {
        self.places.retain(|_, places| {
            places.retain_mut(|at| match number(text_of(*at)) {
                Some(new) => {
                    *at = place(new, usize::from(place_in_text(*at)));
                    true
                }
                None => false,
            });
            places.shrink_to_fit();
            !places.is_empty()
        });
    }

    /// The texts that hold everything of the query, by their numbers. One that asks for nothing
    /// finds nothing.
    pub fn find(&self, query: &Query) -> Vec<u32> {
        let mut phrases = Vec::new();
        for words in &query.phrases {
            let places: Option<Vec<&[Place]>> = (words.iter())
                .map(|word| self.places.get(word.as_str()).map(Vec::as_slice))
                .collect();
            match places {
                Some(places) => phrases.push(Phrase::new(places)),
                None => return Vec::new(),
            }
        }
        phrases.sort_by_key(|phrase| phrase.rarest().len());
        let mut phrases = phrases.into_iter();
        let Some(mut first) = phrases.next() else {
            return Vec::new();
        };
        let mut found = first.texts();
        for mut phrase in phrases {
            found.retain(|text| phrase.is_in(*text));
        }
        found
    }
}

fn place_in_text(place: Place) -> u16 {
    u16::try_from(place & ((1 << PLACE_BITS) - 1)).expect("masked")
}

/// Words in a row, each by its places; asked about texts in rising order.
struct Phrase<'a> {
    words: Vec<Cursor<'a>>,
    rarest: usize,
}

impl<'a> Phrase<'a> {
    fn new(words: Vec<&'a [Place]>) -> Self {
        let by_count = words
            .iter()
            .enumerate()
            .min_by_key(|(_, places)| places.len());
        let rarest = by_count.map_or(0, |(n, _)| n);
        Self {
            words: words.into_iter().map(Cursor::new).collect(),
            rarest,
        }
    }

    fn rarest(&self) -> &'a [Place] {
        self.words
            .get(self.rarest)
            .map_or(&[], |cursor| cursor.places)
    }

    /// Every text with the phrase.
    fn texts(&mut self) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        for place in self.rarest() {
            let text = text_of(*place);
            if found.last() != Some(&text) && self.stands_at(*place) {
                found.push(text);
            }
        }
        found
    }

    fn is_in(&mut self, text: u32) -> bool {
        let rarest = self.rarest();
        let places = self.words[self.rarest].within(text);
        rarest[places].iter().any(|place| self.stands_at(*place))
    }

    /// Whether the phrase is there whose rarest word stands here.
    fn stands_at(&mut self, place: Place) -> bool {
        let Some(start) = usize::from(place_in_text(place)).checked_sub(self.rarest) else {
            return false;
        };
        let text = text_of(place);
        let rarest = self.rarest;
        let mut others = self.words.iter_mut().enumerate();
        others.all(|(n, cursor)| n == rarest || cursor.holds(self::place(text, start + n)))
    }
}

/// A list of places that is walked forward.
struct Cursor<'a> {
    places: &'a [Place],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(places: &'a [Place]) -> Self {
        Self { places, at: 0 }
    }

    /// Goes to the first place that is not before this one, in steps that double.
    fn advance(&mut self, target: Place) {
        let ahead = &self.places[self.at..];
        let mut step = 1;
        while ahead.get(step).is_some_and(|place| *place < target) {
            step *= 2;
        }
        let from = step / 2;
        let to = ahead.len().min(step + 1);
        self.at += from + ahead[from..to].partition_point(|place| *place < target);
    }

    fn within(&mut self, text: u32) -> Range<usize> {
        self.advance(place(text, 0));
        let length = self.places[self.at..]
            .iter()
            .take_while(|at| text_of(**at) == text);
        self.at..self.at + length.count()
    }

    /// Whether this is one of the places. Within one text it may be asked backward.
    fn holds(&mut self, target: Place) -> bool {
        self.advance(place(text_of(target), 0));
        self.places[self.at..]
            .iter()
            .take_while(|place| **place <= target)
            .any(|place| *place == target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn index(texts: &[&str]) -> Words {
        let mut words = Words::default();
        for (number, text) in texts.iter().enumerate() {
            words.add(u32::try_from(number).unwrap(), text);
        }
        words
    }

    fn find(words: &Words, query: &str) -> Vec<u32> {
        words.find(&Query::parse(query).unwrap())
    }

    #[test]
    fn words_and_phrases_are_found() {
        let words = index(&[
            "The borrow checker is right.",
            "Checker: borrow nothing, be right",
            "copy_file_range copies a range",
            "Größe über ALLES",
            "模型在本地运行",
        ]);
        assert_eq!(find(&words, "borrow right"), [0, 1]);
        assert_eq!(find(&words, "\"borrow checker\""), [0]);
        assert_eq!(find(&words, "\"checker borrow\" nothing"), [1]);
        assert_eq!(find(&words, "copy_file_range"), [2]);
        assert_eq!(find(&words, "range"), [2]);
        assert_eq!(find(&words, "GRÖSSE"), [] as [u32; 0]);
        assert_eq!(find(&words, "größe Alles"), [3]);
        assert_eq!(find(&words, "本地"), [4]);
        assert_eq!(find(&words, "地本"), [] as [u32; 0]);
        assert_eq!(find(&words, ""), [] as [u32; 0]);
        assert_eq!(find(&words, "borrow missing"), [] as [u32; 0]);
    }

    #[test]
    fn removed_texts_are_forgotten_with_their_words() {
        let mut words = index(&["one two", "two three", "three four"]);
        words.renumber(|number| number.checked_sub(1));
        assert_eq!(find(&words, "two"), [0]);
        assert_eq!(find(&words, "\"three four\""), [1]);
        assert_eq!(find(&words, "one"), [] as [u32; 0]);
        assert_eq!(words.places.len(), 3);
    }

    proptest! {
        /// As reading every text does.
        #[test]
        fn the_index_finds_what_reading_finds(
            texts in vec(vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..12), 0..30),
            phrases in vec(vec(prop::sample::select(vec!["a", "b", "c", "d"]), 1..4), 1..4),
        ) {
            let written: Vec<String> = texts.iter().map(|words| words.join(" ")).collect();
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            let quoted = phrases.iter().map(|words| format!("\"{}\"", words.join(" ")));
            let quoted = quoted.collect::<Vec<_>>().join(" ");
            let holds = |text: &Vec<&str>| {
                phrases.iter().all(|phrase| {
                    text.windows(phrase.len()).any(|words| words == phrase.as_slice())
                })
            };
            let expected: Vec<u32> = (0..)
                .zip(&texts)
                .filter(|(_, text)| holds(text))
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(find(&index(&written), &quoted), expected);
        }

        #[test]
        fn any_text_can_be_split(text in "\\PC{0,200}") {
            for word in split(&text) {
                prop_assert!(!word.is_empty() && word.len() <= MAX_WORD_BYTES + 12);
            }
        }
    }
}
