//! One file of HTML from a [`Page`]: the template beside this file, with the data put into it.

use super::Page;

const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "\"the data of the run\"";

/// The page as a file that needs nothing else.
pub fn html(page: &Page) -> String {
    let data = serde_json::to_string(page).expect("plain fields have a JSON form");
    // Inside a script element only these could end it or begin a comment.
    let data = data.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    TEMPLATE.replacen(PLACE, &data, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Band, Finding, Grid, Outcome, Point, Reign};

    fn page() -> Page {
        let point = |n: u64| Point { at_us: n * 10_000, took_us: 900 + n * 40 % 7_000, outcome: Outcome::Ok };
        Page {
            verdict: "valid".into(),
            facts: vec![("seed".into(), "7".into())],
            tiles: vec![("operations".into(), "1,000".into())],
            seconds: 10.0,
            grid: Grid::of(&(0..1000).map(point).collect::<Vec<_>>(), 10.0),
            bands: vec![Band {
                kind: "kill".into(),
                label: "a1 </script><script>alert(1)</script>".into(),
                from: 2.0,
                to: 3.5,
                acted: true,
                evidence: "the process ended".into(),
            }],
            reigns: vec![Reign { set: 1, node: "a1".into(), site: "A".into(), from: 0.0, to: 2.0 }],
            findings: vec![Finding {
                checker: "exactly_once".into(),
                claim: "G4".into(),
                verdict: "valid".into(),
                checked: 1000,
                violations: 0,
                first: Vec::new(),
            }],
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_no_text_breaks_out_of_it() {
        let html = html(&page());
        assert!(!html.contains(PLACE));
        assert!(!html.contains("http"), "it would load something");
        assert_eq!(html.matches("</script>").count(), 1);
        assert!(html.contains("alert(1)"), "the text is there, as text");
    }

    #[test]
    fn the_data_is_in_the_page_as_json() {
        let html = html(&page());
        let data = html.split("const run = ").nth(1).and_then(|rest| rest.split(";\n").next()).unwrap();
        let value: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["bands"][0]["label"], page().bands[0].label);
        assert_eq!(value["grid"]["cells"]["ok"].as_array().map(|cells| cells.is_empty()), Some(false));
    }
}
