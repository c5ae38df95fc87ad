//! However a run goes wrong, the last word on it is the command that repeats it: a seed that is lost with its failure
//! has found nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::panics;

/// The line with the command that runs a seed again, with `arguments` beside it.
pub fn line(seed: u64, arguments: &[String]) -> String {
    let mut words = vec!["repeat:".to_owned()];
    #[cfg(feature = "canaries")]
    {
        use twinset_ledger::canary::VARIABLE;
        words.extend(std::env::var(VARIABLE).ok().map(|bug| format!("{VARIABLE}={bug}")));
    }
    words.extend(["twinset-sim".to_owned(), "--seed".to_owned(), seed.to_string()]);
    words.extend_from_slice(arguments);
    words.join(" ")
}

/// Does a run, which says what is wrong. Whatever is said of it in the end, with the command last; nothing, if all is
/// well. An error and a panic are as wrong as what a checker finds.
pub fn told(
    seed: u64,
    arguments: &[String],
    run: impl FnOnce() -> anyhow::Result<Vec<String>>,
) -> Vec<String> {
    let wrong = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(wrong)) => wrong,
        Ok(Err(error)) => vec![format!("{error:#}")],
        Err(_) => std::iter::once("the program panicked".to_owned()).chain(panics::seen()).collect(),
    };
    let mut told: Vec<String> = wrong.iter().map(|words| format!("seed {seed}: {words}")).collect();
    if !told.is_empty() {
        told.push(line(seed, arguments));
    }
    told
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn whatever_goes_wrong_the_last_word_is_the_command() {
        let told = |run: &dyn Fn() -> anyhow::Result<Vec<String>>| {
            told(7, &["--time".to_owned(), "5".to_owned()], run)
        };
        let again = "repeat: twinset-sim --seed 7 --time 5";
        assert_eq!(told(&|| Ok(Vec::new())), Vec::<String>::new());
        assert_eq!(told(&|| Ok(vec!["a".into(), "b".into()])), ["seed 7: a", "seed 7: b", again]);
        assert_eq!(told(&|| bail!("no room")), ["seed 7: no room", again]);
        let panicked = told(&|| panic!("on purpose"));
        assert_eq!(
            (panicked[0].as_str(), panicked.last().unwrap().as_str()),
            ("seed 7: the program panicked", again)
        );
    }
}
