//! What recall finds, on varied facts and questions.

use scrollback::Author;

use super::question::asks;
use super::ranking::answer;
use super::*;

fn bob() -> Author {
    Author::new("test", 1).named("Bob")
}

fn said(texts: &[&str]) -> Vec<Message> {
    texts
        .iter()
        .map(|t| Message::user(bob(), *t).at_ms(1_700_000_000_000))
        .collect()
}

fn ask(question: &str, facts: &[&str]) -> Option<String> {
    answer(&Message::user(bob(), question), &said(facts))
}

/// Facts, questions about them, and the word that only the right answer holds.
const FACTS: [(&str, &str, &str); 30] = [
    ("my cat is called Mog", "what is my cat called?", "Mog"),
    ("my dog is called Rex", "What's my dog's name?", "Rex"),
    ("my car is red", "what colour is my car?", "red"),
    (
        "my sister lives in Oslo",
        "where does my sister live?",
        "Oslo",
    ),
    (
        "The wifi password is swordfish",
        "what is the wifi password?",
        "swordfish",
    ),
    (
        "My dentist appointment is on Tuesday at 9",
        "when is my dentist appointment",
        "Tuesday",
    ),
    (
        "I am allergic to peanuts",
        "what am I allergic to?",
        "peanuts",
    ),
    (
        "Our flight to Lisbon leaves at 7:45",
        "when does the flight to Lisbon leave?",
        "7:45",
    ),
    (
        "My brother works as a plumber",
        "What is my brother's job?",
        "plumber",
    ),
    (
        "The spare key is under the blue flowerpot",
        "where is the spare key?",
        "flowerpot",
    ),
    (
        "My favourite food is ramen",
        "what's my favourite food?",
        "ramen",
    ),
    (
        "Anna's birthday is on 3 May",
        "When is Anna's birthday?",
        "3 May",
    ),
    ("I parked on level B12", "where did I park?", "B12"),
    ("My shoe size is 43", "what shoe size do I wear?", "43"),
    (
        "We meet in the Curie room",
        "which room do we meet in?",
        "Curie",
    ),
    (
        "The project deadline is the end of March",
        "when is the project's deadline?",
        "March",
    ),
    (
        "My grandmother was born in Trieste",
        "Where was my grandmother born?",
        "Trieste",
    ),
    (
        "The plants need water every Friday",
        "how often do the plants need water?",
        "Friday",
    ),
    (
        "My laptop runs Debian",
        "which system does my laptop run?",
        "Debian",
    ),
    (
        "I take my coffee with oat milk",
        "how do I take my coffee?",
        "oat",
    ),
    (
        "The landlord's phone number is 555 0199",
        "what is the phone number of the landlord?",
        "0199",
    ),
    (
        "My daughter plays the cello",
        "what instrument does my daughter play?",
        "cello",
    ),
    (
        "Our holiday cabin sleeps six",
        "how many does the holiday cabin sleep?",
        "six",
    ),
    (
        "The museum is closed on Mondays",
        "when is the museum closed?",
        "Mondays",
    ),
    (
        "I lost my umbrella in the tram",
        "where did I lose my umbrella? I lost it somewhere",
        "tram",
    ),
    (
        "My neighbour Igor repairs violins",
        "who repairs violins?",
        "Igor",
    ),
    (
        "The bicycle lock code is 7391",
        "tell me the bicycle lock code",
        "7391",
    ),
    (
        "My passport expires in 2031",
        "when does my passport expire?",
        "2031",
    ),
    ("Marta likes lilies", "what does Marta like?", "lilies"),
    (
        "The choir rehearses in St Jude's church",
        "where does the choir rehearse?",
        "Jude",
    ),
];

#[test]
fn each_of_thirty_facts_is_found_and_no_other_one() {
    let facts = FACTS.map(|(fact, ..)| fact);
    for (fact, question, word) in FACTS {
        let found = ask(question, &facts).unwrap_or_default();
        assert!(found.contains(word), "{question} -> {found}");
        for (other, _, key) in FACTS.iter().filter(|(f, ..)| *f != fact) {
            let quoted = found.trim_start_matches("You said on 2023-11-14 22:13 UTC: ");
            assert!(!quoted.contains(key), "{question} -> {found} ({other})");
        }
    }
}

#[test]
fn each_fact_alone_is_found() {
    for (fact, question, word) in FACTS {
        let found = ask(question, &[fact]).unwrap_or_default();
        assert!(found.contains(word), "{question} -> {found}");
    }
}

#[test]
fn a_fact_is_found_among_a_thousand_others() {
    let noise: Vec<String> = (0..1000)
        .map(|n| format!("ticket {n} was closed by worker {}", n % 7))
        .collect();
    let mut all: Vec<&str> = noise.iter().map(String::as_str).collect();
    all.insert(300, "my cat is called Mog");
    assert!(ask("what is my cat called?", &all).unwrap().contains("Mog"));
    assert!(
        ask("who closed ticket 512?", &all)
            .unwrap()
            .contains("ticket 512")
    );
}

const SHARED: [&str; 4] = [
    "my cat is called Mog",
    "my dog is called Rex",
    "my car is red",
    "my sister lives in Oslo",
];

#[test]
fn what_was_not_said_is_not_answered() {
    for question in [
        "what is my hamster called?",
        "where does my brother live?",
        "what colour is my bicycle?",
        "what is the capital of France?",
        "what is my dog's favourite food?",
        "what colour is my sister's car?",
        "what is it?",
        "who am I?",
        "???",
    ] {
        assert_eq!(ask(question, &SHARED), None, "{question}");
        assert_eq!(ask(question, &[]), None, "{question}");
    }
}

#[test]
fn a_word_that_many_facts_share_is_no_answer() {
    let facts: Vec<String> = ["Mog", "Rex", "Tom", "Ada"]
        .iter()
        .map(|n| format!("the {n}x boat was painted {n}"))
        .collect();
    let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
    assert_eq!(ask("when was the shed painted?", &facts), None);
}

#[test]
fn the_newest_of_equal_facts_is_quoted() {
    let facts = ["my car is red", "I like tea", "my car is blue"];
    assert!(
        ask("what colour is my car?", &facts)
            .unwrap()
            .ends_with("blue")
    );
}

#[test]
fn questions_commands_and_the_bots_own_words_are_no_facts() {
    let question = Message::user(bob(), "what is my cat called?").id("q");
    let others = [
        Message::user(bob(), "is my cat called Tom?"),
        Message::user(bob(), "what is my cat called"),
        Message::user(bob(), "/note my cat is called Tom"),
        Message::assistant("your cat is called Tom"),
        Message::system("the cat is called Tom"),
        Message::user(bob(), "my cat is called Tom").id("q"),
    ];
    assert_eq!(answer(&question, &others), None);
}

#[test]
fn the_askers_own_fact_comes_first_and_others_are_named() {
    let ann = Author::new("test", 2).named("Ann");
    let both = [
        Message::user(bob(), "my cat is called Mog"),
        Message::user(ann, "my cat is called Tom"),
    ];
    let found = |q: &str, said: &[Message]| answer(&Message::user(bob(), q), said).unwrap();
    assert!(found("what is my cat called?", &both).starts_with("You said"));
    assert!(found("what is Ann's cat called?", &both).starts_with("Ann said"));
    assert!(found("what is my cat called?", &both[1..]).starts_with("Ann said"));
}

#[test]
fn an_acknowledgement_or_a_denial_repeats_nothing() {
    assert!(!asks("my pin is 4711") && !NOTED.contains("4711"));
    assert!(!NOTED.contains('?') && !NOTHING.contains('?'));
}

#[test]
fn a_fact_in_a_long_message_is_quoted_where_it_stands() {
    let long = format!(
        "{}The alarm code is 8812. {}",
        "We talked. ".repeat(500),
        "Bye now. ".repeat(500)
    );
    let found = ask("what is the alarm code?", &[&long]).unwrap();
    assert!(found.contains("8812") && found.chars().count() < 600);
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_is_bounded_and_quotes_only_what_was_said(
            question in "\\PC{0,40}\\?", facts in proptest::collection::vec("(\\PC){0,60}|([a-d] ){1,6}", 0..8)
        ) {
            let said: Vec<Message> = facts.iter().map(|t| Message::user(bob(), t.as_str())).collect();
            if let Some(found) = answer(&Message::user(bob(), question), &said) {
                let quoted = found.split_once(" UTC: ").unwrap().1.replace('\u{200b}', "");
                let was_said = facts.iter().any(|f| f.replace('\u{200b}', "").contains(&quoted));
                prop_assert!(was_said);
            }
        }
    }
}
