//! A hold in lines, for people.

use serde_json::Value;

use crate::cmd::transaction::text;

/// A hold as the router gives it, a line for each field, and one for each thing that has happened to it.
pub fn one(hold: &Value) -> String {
    let mut lines = Vec::new();
    for (name, field) in hold.as_object().into_iter().flatten() {
        match name.as_str() {
            "journal" | "metadata" => {}
            "on_expiry" => lines.extend(check_back(&field["check_back"])),
            "placed" => lines.push(format!(
                "{name:<14} {} (set {}, index {})",
                text(&field["time"]),
                field["set"],
                field["index"]
            )),
            _ => lines.push(format!("{name:<14} {}", text(field))),
        }
    }
    for (key, value) in hold["metadata"].as_object().into_iter().flatten() {
        lines.push(format!("  {key} = {}", text(value)));
    }
    for event in hold["journal"].as_array().into_iter().flatten() {
        let what = match event["change"].as_str() {
            Some("captured") => format!("{} by {}", text(&event["amount"]), text(&event["transaction"])),
            Some("extended") => event
                .get("expires_at")
                .map_or_else(|| "to no end".to_owned(), |time| format!("to {}", text(time))),
            Some("checked_back") => tried(&event["try"]),
            _ => text(&event["amount"]),
        };
        lines.push(format!("  {}  {} {what}", text(&event["position"]["time"]), text(&event["change"])));
    }
    lines.join("\n")
}

/// What [`overdue`] tells of each.
pub const OVERDUE: [&str; 8] =
    ["HOLD", "ACCOUNT", "LEFT", "CURRENCY", "OVERDUE SINCE", "ASKS", "TRIES", "WAITS FOR"];

/// An overdue hold in a row.
pub fn overdue(hold: &Value) -> Vec<String> {
    let asking = &hold["on_expiry"]["check_back"];
    let waits_for = if asking["kept"] == true {
        "a person".to_owned()
    } else if asking["confirming"] == true {
        "its confirmation".to_owned()
    } else {
        match asking["next_at"].as_str() {
            Some(next) => format!("a try from {next}"),
            None => "a try".to_owned(),
        }
    };
    let mut row: Vec<String> =
        ["hold", "account", "left", "currency", "expires_at"].map(|name| text(&hold[name])).into();
    row.extend([text(&asking["initiator"]), text(&asking["tries"]), waits_for]);
    row
}

/// Who is asked when its time is over, and how far that is.
fn check_back(state: &Value) -> Vec<String> {
    let name = |field: &Value| text(field);
    let mut lines =
        vec![format!("{:<14} asks {}, pays {}", "on_expiry", name(&state["initiator"]), name(&state["to"]))];
    let mut progress = format!("{:<14} {}", "tries", state["tries"]);
    if let Some(next) = state["next_at"].as_str() {
        progress.push_str(&format!(", the next from {next}"));
    }
    for (flag, told) in [("confirming", ", being confirmed"), ("kept", ", kept: nobody is asked any more")] {
        progress.push_str(if state[flag] == true { told } else { "" });
    }
    lines.push(progress);
    lines
}

/// What came of a try.
fn tried(tried: &Value) -> String {
    let mut out = format!("{}: {}", tried["number"], text(&tried["result"]));
    if let Some(why) = tried["why"].as_str() {
        out.push_str(&format!(", {why}"));
    }
    if let Some(next) = tried["next_at"].as_str() {
        out.push_str(&format!(", next from {next}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_asked_is_told_in_two_lines() {
        let hold = json!({
            "hold": "1-1-8-0",
            "on_expiry": {"check_back": {"initiator": "shop", "to": "b", "tries": 2, "kept": true}},
            "journal": [{"position": {"time": "T"}, "change": "checked_back",
                "try": {"number": 1, "result": "failed", "why": "timed_out", "next_at": "U"}}],
        });
        let expected = "hold           1-1-8-0\non_expiry      asks shop, pays b\n\
            tries          2, kept: nobody is asked any more\n  T  checked_back 1: failed, timed_out, next from U";
        assert_eq!(one(&hold), expected);
    }
}
