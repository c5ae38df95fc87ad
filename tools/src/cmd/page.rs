//! Lists that routers give page by page: what a command takes to ask for a page, and what it says if there are more.

use clap::Args;
use serde_json::Value;

use super::router::segment;
use super::transaction::text;
use crate::out;

/// A page of a list. Routers give `MAX` items at once.
#[derive(Debug, Args)]
pub struct Page<const MAX: i64> {
    /// Begin behind this one.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    page_size: u32,
}

impl<const MAX: i64> Page<MAX> {
    /// Whether it begins at the beginning.
    pub fn is_first(&self) -> bool {
        self.after.is_none()
    }

    /// The path of this page of a list, of what these parameters leave of it.
    pub fn path(&self, list: &str, parameters: &[(&str, Option<&str>)]) -> String {
        let mut path = format!("{list}?page_size={}", self.page_size);
        let after = ("after", self.after.as_deref());
        for (name, value) in parameters.iter().chain([&after]) {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        path
    }
}

/// The items of a page in a table: these fields of each.
pub fn table(items: &Value, fields: &[&str]) -> String {
    let cell = |item: &Value, name: &str| item.get(name).map_or_else(|| "-".to_owned(), text);
    let row = |item: &Value| fields.iter().map(|name| cell(item, name)).collect();
    let rows: Vec<Vec<String>> = items.as_array().into_iter().flatten().map(row).collect();
    let headings: Vec<String> = fields.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
    out::table(&headings.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// Says how the list goes on behind this page, if it does: by the command that takes where the next one begins.
pub fn more(page: &Value, command: impl FnOnce(&str) -> String) {
    if let Some(next) = page["next"].as_str().filter(|next| !next.is_empty()) {
        out::say(&format!("more: twinset {}", command(next)));
    }
}
