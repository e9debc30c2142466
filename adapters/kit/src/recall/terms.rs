//! Turns text into terms: Unicode words, lower case, without stop words, stemmed.

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

/// The language whose rules reduce words to stems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Danish.
    Danish,
    /// Dutch.
    Dutch,
    /// French.
    French,
    /// German.
    German,
    /// Italian.
    Italian,
    /// Norwegian.
    Norwegian,
    /// Portuguese.
    Portuguese,
    /// Russian.
    Russian,
    /// Spanish.
    Spanish,
    /// Swedish.
    Swedish,
}

impl Language {
    const fn algorithm(self) -> Algorithm {
        match self {
            Self::English => Algorithm::English,
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
        }
    }
}

/// Words that say nothing about what a sentence is about.
const STOP: &str = "\
a about above after again against ago all also am an and any anybody anyone anything are aren't as at \
back be because been before being below between both but by can can't cannot could couldn't did didn't \
do does doesn't doing don't done down during each either else ever every everybody everyone few for \
from further had hadn't has hasn't have haven't having he her here hers herself him himself his hi \
hello hey how however i i'd i'll i'm i've if in into is isn't it it's its itself just let let's may me \
mention mentioned mentions might mine more most must my myself neither no nor not now of off on once \
one only or other our ours ourselves out over own please quite rather really recall remember remembers \
remind said same say saying says shall she should shouldn't since so some somebody someone something \
still such tell telling than thank thanks that that's the their theirs them themselves then there \
there's these they they're this those though through to today told too under until up upon us very was \
wasn't we we're well were weren't what what's whatever when when's where where's whether which while \
who who's whom whose why will with within without won't would wouldn't yes yet you you're your yours \
yourself";

/// Words that name a relation or an attribute, not a thing: a match on these alone tells little, and
/// an answer often lacks them (`what colour is my car?` – `my car is red`).
const WEAK: &str = "\
address age amount best big birthday brand called call city color colour come comes cost costs country \
date day days does favorite favourite find get gets give go goes going good got happen happened hate hates \
height high house job kind know known knows last leave like liked likes live lived lives located \
location long love loved loves made main make makes many mean means much name named names need needed \
new number old own person place plan price put reach room see size sort start starts street take takes thing \
things think time times tall town type use used uses want wanted wants weight wear work works year years";

/// The words of a language model's poor cousin: a stemmer and two word lists.
pub(super) struct Terms {
    stemmer: Stemmer,
    weak: Vec<String>,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").finish_non_exhaustive()
    }
}

impl Terms {
    pub(super) fn new(language: Language) -> Self {
        let stemmer = Stemmer::create(language.algorithm());
        let stem = |w| stemmer.stem(w).into_owned();
        let weak = WEAK.split_whitespace().map(stem).collect();
        Self { stemmer, weak }
    }

    /// The terms of a text, in order, with the byte where each one's word starts.
    pub(super) fn of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
        text.unicode_word_indices()
            .filter(|(at, _)| !is_mention(text, *at))
            .filter_map(|(at, word)| Some((at, self.term(word)?)))
    }

    /// True for a term that names a relation or an attribute.
    pub(super) fn is_weak(&self, term: &str) -> bool {
        self.weak.iter().any(|w| w == term)
    }

    fn term(&self, word: &str) -> Option<String> {
        let plain = word.to_lowercase().replace('’', "'");
        if is_stop(&plain) {
            return None;
        }
        let owner = plain.strip_suffix("'s").unwrap_or(&plain);
        (!is_stop(owner)).then(|| self.stemmer.stem(owner).into_owned())
    }
}

fn is_stop(word: &str) -> bool {
    STOP.split_whitespace().any(|stop| stop == word)
}

/// True for a word that is the name in `@name` or the number in `<@123>`.
fn is_mention(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let marks = before.trim_end_matches(['@', '!', '&', '#', '<']).len();
    let marks = before.get(marks..).unwrap_or_default();
    marks.contains('<')
        || marks.starts_with('@')
            && !before
                .trim_end_matches('@')
                .ends_with(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let terms = Terms::new(Language::English);
        terms.of(text).map(|(_, t)| t).collect()
    }

    #[test]
    fn words_are_folded_stemmed_and_freed_of_stop_words() {
        assert_eq!(
            of("What is my CAT'S name?"),
            of("the name of the cats")
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
        );
        assert_eq!(
            of("Where does she live?"),
            of("he lives, lived & is living")
                .into_iter()
                .take(1)
                .collect::<Vec<_>>()
        );
        assert_eq!(of("What’s that?"), Vec::<String>::new());
        assert_eq!(of("ÉCOLE Straße 日本 B12").len(), 5);
    }

    #[test]
    fn mentions_are_no_terms() {
        assert_eq!(of("<@123> @bot <@!4> <#5> cat"), ["cat"]);
        assert_eq!(of("mail ann@example.org"), ["mail", "ann", "example.org"]);
    }
}
