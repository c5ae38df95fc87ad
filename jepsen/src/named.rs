//! Entries of the tables (workloads, nemeses, bugs on purpose) by the names that a person gave.

use twinset_tools::error;

/// The entries of those names, in their order. `what` one of them is stands in the complaint about a name that is none.
pub fn named<'a, T>(
    table: &'a [T],
    name_of: impl Fn(&T) -> &'static str,
    what: &str,
    names: &[String],
) -> anyhow::Result<Vec<&'a T>> {
    let one = |name: &String| {
        table.iter().find(|entry| name_of(entry) == name).ok_or_else(|| {
            let known: Vec<&str> = table.iter().map(&name_of).collect();
            error::usage(format!("there is no {what} {name}"), format!("choose of {}", known.join(", ")))
        })
    };
    names.iter().map(one).collect()
}
