//! The command line that repeats one run of many.

/// Options that do not change what a run does; those with a value have it behind them or behind a `=`.
const LEFT_OUT: [(&str, bool); 4] = [
    ("--seed", true),
    ("--runs", true),
    ("--plot", true),
    ("--json", false),
];

/// The command line `args`, behind the program's name, changed to run this seed alone.
pub(super) fn line(args: impl Iterator<Item = String>, seed: u64) -> String {
    let mut line = "treecast".to_string();
    let mut args = args;
    while let Some(arg) = args.next() {
        let name = arg.split('=').next().unwrap_or_default();
        match LEFT_OUT.iter().find(|(option, _)| *option == name) {
            Some((_, has_value)) => {
                if *has_value && !arg.contains('=') {
                    args.next();
                }
            }
            None => {
                line.push(' ');
                line += &quoted(&arg);
            }
        }
    }
    format!("{line} --seed {seed}")
}

/// An argument as a shell takes it.
fn quoted(arg: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=%+,@".contains(c);
    if !arg.is_empty() && arg.chars().all(is_plain) {
        arg.to_string()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_replay_keeps_what_changes_the_run_and_nothing_else() {
        let replay = |text: &str| line(text.split(' ').map(str::to_string), 9);
        assert_eq!(
            replay("sim --runs 20 lab/wide.toml --loss core:lh1=5% --seed=3 --json --plot x.svg"),
            "treecast sim lab/wide.toml --loss core:lh1=5% --seed 9"
        );
        let args = ["sim", "a b.toml"].map(str::to_string);
        assert_eq!(
            line(args.into_iter(), 1),
            "treecast sim 'a b.toml' --seed 1"
        );
    }
}
