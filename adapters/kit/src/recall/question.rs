//! Tells questions from statements.

use unicode_segmentation::UnicodeSegmentation;

/// Words that start a question.
const START: [&str; 18] = [
    "what", "what's", "whats", "who", "who's", "whos", "whom", "whose", "where", "where's",
    "wheres", "when", "when's", "why", "how", "how's", "which", "whats's",
];

/// Words after a leading question word with which it starts a statement: `when I was ten, …`,
/// `what a day`.
const NOT_AFTER: [(&str, &[&str]); 2] = [
    (
        "when",
        &[
            "i", "i'm", "we", "he", "she", "they", "you", "it", "my", "the", "our",
        ],
    ),
    ("what", &["a", "an"]),
];

/// True when any sentence of the text asks something.
pub(super) fn asks(text: &str) -> bool {
    text.split_sentence_bounds().any(is_question)
}

/// The sentences that state something, with where each starts.
pub(super) fn statements(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_sentence_bound_indices()
        .filter(|(_, sentence)| !is_question(sentence))
}

/// The sentences that ask something.
pub(super) fn questions(text: &str) -> impl Iterator<Item = &str> {
    text.split_sentence_bounds().filter(|s| is_question(s))
}

/// True for a text that is a command, or was meant as one.
pub(super) fn is_command(text: &str) -> bool {
    text.trim_start().starts_with('/')
}

fn is_question(sentence: &str) -> bool {
    // Whatever stands behind the mark: quotes, brackets, an emoji.
    let end = sentence.trim_end_matches(|c: char| !c.is_alphanumeric() && !is_mark(c));
    if end.ends_with(is_mark) {
        return true;
    }
    let mut words = sentence
        .split_whitespace()
        .filter(|w| !w.starts_with(['@', '<']))
        .map(plain);
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    let third = words.next().unwrap_or_default();
    match (first.as_str(), second.as_str()) {
        ("tell", "me") => true,
        ("remind", "me") => START.contains(&third.as_str()),
        (first, second) => {
            START.contains(&first)
                && !NOT_AFTER
                    .iter()
                    .any(|(w, after)| *w == first && after.contains(&second))
        }
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, '?' | '？' | '؟' | '⁇' | '‽')
}

fn plain(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric())
        .to_lowercase()
        .replace('’', "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_from_statements() {
        for text in [
            "what is my cat called?",
            "What is my cat called",
            "is it raining?",
            "My name is Bob, what's yours?",
            "I forgot. Where do I live",
            "<@12> where does she live",
            "how old is Ann",
            "tell me my name",
            "remind me where I parked",
            "really?!",
            "(what?)",
            "何？",
        ] {
            assert!(asks(text), "{text}");
        }
        for text in [
            "",
            "my cat is called Mog",
            "When I was ten I broke my leg",
            "What a day",
            "remind me to buy milk",
            "Somewhat odd.",
            "hello!",
        ] {
            assert!(!asks(text), "{text}");
        }
    }

    #[test]
    fn a_message_with_a_fact_and_a_question_states_the_fact() {
        let text = "My cat is called Mog. What is yours?";
        let said: Vec<_> = statements(text).collect();
        assert_eq!(said, [(0, "My cat is called Mog. ")]);
    }
}
