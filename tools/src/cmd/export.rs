//! `twinset export`: writes the transactions of a journal's tag as a beancount journal. Asking and writing are
//! [`crate::journal`]'s; here are the arguments and the file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::Context;
use super::import::{Lanes, check_tag};
use crate::journal::Format;
use crate::journal::fetch::{self, fetch};
use crate::journal::send::Pace;
use crate::{error, out};

/// What `twinset export --help` says.
pub const HELP: &str = "Write an imported journal back out.\n\n\
    The transactions of one tag become a beancount journal that bean-check accepts: options, accounts with their \
    opening days, transactions with payees, tags, links, metadata, costs and prices. What was booked under the tag since \
    the import is there too. Directives that move no money (prices, events, notes) and accounts that never took part in \
    a transaction are not in the ledger, so not in the export.\n\n\
    Examples:\n  twinset export --format beancount --tag example -o copy.beancount\n  \
    twinset export --tag example | bean-query /dev/stdin balances";

/// Write an imported journal back out.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The format to write; beancount is the only one.
    #[arg(long, value_enum, default_value = "beancount")]
    pub format: Format,
    /// The journal's name in the ledger, as it was imported.
    #[arg(long, default_value = "journal", value_name = "NAME")]
    pub tag: String,
    /// The file to write. Default: stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Runs `twinset export`.
pub async fn run(arguments: ExportArgs, context: &Context) -> anyhow::Result<()> {
    check_tag(&arguments.tag)?;
    if arguments.format != Format::Beancount {
        return Err(error::usage("only beancount is written", "give --format beancount"));
    }
    if context.json && arguments.output.is_none() {
        return Err(error::usage("the journal itself goes to stdout", "give -o FILE with --json"));
    }
    let routers = context.routers()?;
    let pace = Pace::default();
    let lanes = Lanes::open(&routers, pace.openings).await?;
    let spinner = out::spinner(&format!("exporting {}", arguments.tag));
    let export = fetch(&lanes, &arguments.tag, pace, &|read| spinner.inc(read)).await;
    spinner.finish_and_clear();
    let export = export.map_err(|error| {
        let next = match &error {
            fetch::Error::NoJournal { .. } => "`twinset import FILE --tag NAME` books a journal under a tag",
            _ => "`twinset status` shows which nodes and sets answer",
        };
        error::failure(format!("nothing was exported: {error}"), next)
    })?;
    let Some(file) = &arguments.output else {
        return out::line(export.text.trim_end());
    };
    write(file, &export.text)?;
    let (accounts, transactions) = (export.accounts, export.transactions);
    match context.json {
        true => out::json(&json!({
            "file": file.display().to_string(), "accounts": accounts, "transactions": transactions,
        })),
        false => {
            out::line(&format!("{transactions} transactions on {accounts} accounts: {}", file.display()))
        }
    }
}

/// Replaces the file as a whole: nobody finds half a journal.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, file))
        .with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("copy.beancount");
        write(&file, "one").unwrap();
        write(&file, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write(&directory.path().join("none/copy"), "x").is_err());
    }
}
