use super::*;
use crate::trial::{Sampled, pairs::Comparison};

fn page(a: &str, b: &str, turned: bool) -> String {
    let comparison = Comparison::of(&Sampled::default(), &Sampled::default(), 0);
    let subject = Subject {
        a: "<a>.toml",
        b: "b.toml",
        pair: "0123456789abcdef",
        sample: (2, 2000),
        seed: 4,
        comparison: &comparison,
    };
    let pair = Pair {
        ordinal: 17,
        id: "\"><script>alert(1)</script>".to_owned(),
        url: "http://x/<img src=x onerror=alert(2)>".to_owned(),
        picture: None,
        a: a.to_owned(),
        b: b.to_owned(),
        turned,
    };
    let lone = Lone {
        url: "u".to_owned(),
        by: "A",
        reason: "fetch_status".to_owned(),
        detail: "<i>404</i>".to_owned(),
    };
    render(&subject, vec![pair], &[lone]).expect("a page")
}

#[test]
fn what_differs_is_marked_on_its_own_side() {
    let html = page("a red ring and a star", "a blue ring and a star", false);
    let left = html.find("<mark>red</mark>").expect("the left word");
    let right = html.find("<mark>blue</mark>").expect("the right word");
    assert!(left < right && html.contains(r#"data-left="a" data-right="b""#));
    let turned = page("a red ring and a star", "a blue ring and a star", true);
    assert!(turned.find("<mark>blue</mark>") < turned.find("<mark>red</mark>"));
    assert!(turned.contains(r#"data-left="b" data-right="a""#));
}

#[test]
fn texts_of_the_world_are_text_in_the_page() {
    let html = page("<script>alert(3)</script>", "</p><img src=x>", false);
    for part in ["<script>alert(", "<img src=x", "<i>404", "<a>.toml"] {
        assert!(!html.contains(part), "{part} is in the page");
    }
    assert_eq!(html.matches("<script>").count(), 1, "the page's own");
}

#[test]
fn names_and_figures_are_hidden_until_one_asks() {
    let html = page("a", "b", false);
    let figures = html
        .find(r#"<section id="figures" class="secret">"#)
        .expect("figures");
    let cards = html.find(r#"<article class="pair""#).expect("cards");
    let name = html.find("b.toml").expect("the name");
    assert!(
        figures < name && name < cards,
        "names are in the hidden part alone"
    );
    assert!(!html[cards..].contains("b.toml"));
    assert!(html.contains("body:not(.revealed) .secret { display: none; }"));
    for outside in ["src=\"http", "href=\"http", "@import", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn differences_carry_their_sign() {
    let text = |number: f64| format!("{number:.1}");
    assert_eq!(signed(-1.25, text), "−1.2");
    assert_eq!(signed(2.0, text), "+2.0");
    assert_eq!(signed(-0.01, text), "0.0");
}

#[test]
fn votes_are_clear_only_where_interval_and_sign_test_say_so() {
    use votes::Winner;
    let said = |a: usize, b: usize| {
        let cast = [vec![Winner::A; a], vec![Winner::B; b]].concat();
        verdict(&votes::tally(cast))
    };
    let narrow = said(6, 16);
    assert!(narrow.contains("p = 0.052"), "{narrow}");
    assert!(narrow.ends_with("either may be better"), "{narrow}");
    assert!(said(5, 25).ends_with("B is better"));
    assert!(said(25, 5).ends_with("A is better"));
}
