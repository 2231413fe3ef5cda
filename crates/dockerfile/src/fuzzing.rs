//! What holds for any text that is read as a Dockerfile, as ignore rules or as a word with
//! variables. The fuzzer of `fuzz/` tries to break it; the seeds it starts from are tried with every
//! run of the tests.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{SourceMap, Span};
use launchway_model::Platform;

use crate::{
    BuildInputs, CheckInputs, CheckSettings, Dockerfile, IgnoreRules, check, expand,
    expand_keep_quotes, expand_words, outline, parse, print, resolve, targets,
};

/// A Dockerfile: every place lies in the text, what was read is printed so that it reads the same,
/// and neither checks nor stages break.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(file) = parsed(text) else {
        return;
    };
    let printed = print(&file);
    let Some(again) = parsed(&printed) else {
        panic!("printed as {printed:?}, which is wrong");
    };
    assert_eq!(bare(&again), bare(&file), "printed as {printed:?}");
    assert_eq!(print(&again), printed);
    let (args, names) = (BTreeMap::new(), BTreeSet::new());
    let platform = Platform::new("linux", "amd64", None).expect("it is one");
    let build = BuildInputs {
        target: None,
        build_args: &args,
        platform: &platform,
        build_platform: &platform,
        named_contexts: &names,
    };
    let inputs = CheckInputs {
        build,
        settings: &CheckSettings::of(&file),
        stages: &(0..file.stages.len()).collect(),
        all_stages: true,
        args_are_known: true,
        ignore: None,
        images: &BTreeMap::new(),
    };
    for finding in check(&file, &inputs) {
        inside(text, finding.place);
        inside(text, finding.statement);
    }
    let _ = resolve(&file, &build);
    let _ = outline(&file, &build);
    assert_eq!(targets(&file).len(), file.stages.len());
}

fn parsed(text: &str) -> Option<Dockerfile> {
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("Dockerfile", text), text);
    for label in parsed
        .diagnostics
        .iter()
        .flat_map(|problem| &problem.labels)
    {
        inside(text, label.span);
    }
    parsed.dockerfile
}

fn inside(text: &str, span: Span) {
    assert!(
        text.get(span.range()).is_some(),
        "{span:?} is no part of the text"
    );
}

/// The tree as text, without places and without the text it was made from.
fn bare(file: &Dockerfile) -> String {
    let mut text = format!("{file:?}");
    while let Some(start) = text.find("Span { source") {
        let length = text[start..].find('}').expect("a span is closed");
        text.replace_range(start..=start + length, "_");
    }
    let mut bare = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(" text: \"") {
        bare.push_str(before);
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &after[end.expect("a text is closed") + 1..];
    }
    bare.push_str(rest);
    bare.replace("empty_line: Some(_)", "empty_line: None")
}

/// Ignore rules, an empty line, and paths: the same decisions as those of a slow matcher that knows
/// nothing of ours.
pub fn ignore(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some((rules, paths)) = text.split_once("\n\n") else {
        return;
    };
    // Moby turns patterns into regular expressions, which know classes by name and by letter.
    let has_named_class = rules.contains("[:");
    let has_letter_class = rules
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && pair[1].is_ascii_alphanumeric());
    // The slow matcher tries every way that stars can match.
    let many_stars = rules.matches('*').count() > 6;
    if text.len() > 200 || many_stars || has_named_class || has_letter_class || text.contains('\r')
    {
        return;
    }
    let parsed = IgnoreRules::parse(rules);
    let patterns: Vec<(bool, String)> = parsed
        .patterns()
        .map(|(exception, pattern)| (exception, pattern.to_owned()))
        .collect();
    for path in paths.lines() {
        let parts: Vec<&str> = path.split('/').collect();
        let is_clean = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
        if !parts.iter().all(is_clean) {
            continue;
        }
        let want = slow::is_excluded(&patterns, &parts);
        assert_eq!(parsed.is_excluded(path), want, "{patterns:?} on {path:?}");
        if want && !patterns.iter().any(|(exception, _)| *exception) {
            assert!(parsed.excludes_source(path));
            assert!(!parsed.may_reinclude_below(path));
        }
    }
}

/// Moby's matcher, as its sources tell what a pattern means, without any of the care for speed.
mod slow {
    /// Looks at every directory on the way, from the top, as Docker's walk over a context does.
    pub(super) fn is_excluded(patterns: &[(bool, String)], parts: &[&str]) -> bool {
        let mut above: Vec<bool> = vec![false; patterns.len()];
        let mut excluded = false;
        for length in 1..=parts.len() {
            let path = parts[..length].join("/");
            let mut matched = Vec::new();
            excluded = false;
            for ((exception, pattern), above) in patterns.iter().zip(&above) {
                let skipped = !*above && *exception != excluded;
                let matches = *above || (!skipped && matches(pattern, &path));
                matched.push(matches);
                if matches {
                    excluded = !*exception;
                }
            }
            above = matched;
        }
        excluded
    }

    fn matches(pattern: &str, path: &str) -> bool {
        let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
        if !special(pattern) {
            return pattern == path;
        }
        // Stars at one end only are not looked at as a pattern at all.
        if let Some(rest) = pattern.strip_prefix("**")
            && !special(rest)
        {
            return path.ends_with(rest) || rest.strip_prefix('/') == Some(path);
        }
        for stars in ["**/", "**"] {
            if let Some(start) = pattern.strip_suffix(stars)
                && !special(start)
            {
                return path.starts_with(&pattern[..pattern.len() - 2]);
            }
        }
        let pattern: Vec<char> = pattern.chars().collect();
        let path: Vec<char> = path.chars().collect();
        whole(&pattern, &path)
    }

    fn whole(pattern: &[char], path: &[char]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ['*', '*', rest @ ..] => {
                let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
                if rest.is_empty() {
                    return true;
                }
                // Nothing, or everything to some slash.
                let mut starts = vec![0];
                starts.extend((1..=path.len()).filter(|&at| path[at - 1] == '/'));
                starts.into_iter().any(|at| whole(rest, &path[at..]))
            }
            ['*', rest @ ..] => {
                let run = path.iter().take_while(|&&c| c != '/').count();
                (0..=run).any(|at| whole(rest, &path[at..]))
            }
            ['?', rest @ ..] => match path {
                [c, path @ ..] => *c != '/' && whole(rest, path),
                [] => false,
            },
            ['\\', c, rest @ ..] => path.first() == Some(c) && whole(rest, &path[1..]),
            ['[', rest @ ..] => {
                let Some((c, path)) = path.split_first() else {
                    return false;
                };
                let (negated, mut rest) = match rest {
                    ['^', rest @ ..] => (true, rest),
                    _ => (false, rest),
                };
                let mut listed = false;
                let mut any = false;
                loop {
                    if any && let [']', after @ ..] = rest {
                        return listed != negated && whole(after, path);
                    }
                    let (low, after) = member(rest);
                    let (high, after) = match after {
                        ['-', after @ ..] => member(after),
                        _ => (low, after),
                    };
                    listed |= (low..=high).contains(c);
                    any = true;
                    rest = after;
                }
            }
            [c, rest @ ..] => path.first() == Some(c) && whole(rest, &path[1..]),
        }
    }

    /// One character of a class, of a pattern that is well-formed.
    fn member(text: &[char]) -> (char, &[char]) {
        match text {
            ['\\', c, rest @ ..] | [c, rest @ ..] => (*c, rest),
            [] => panic!("a class is closed"),
        }
    }
}

/// Words with variables: what is escaped or quoted comes out as it was, words hold nothing that the
/// text does not, and a variable's value is never read again.
pub fn expansion(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for escape in ['\\', '`'] {
        let nothing = |_: &str| None;
        let itself = |_: &str| Some(text.to_owned());
        let _ = expand_keep_quotes(text, escape, &nothing);
        let _ = expand(text, escape, &itself);
        if let Ok(words) = expand_words(text, escape, &nothing) {
            let whole = expand(text, escape, &nothing).expect("its words could be expanded");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let of_words: usize = words.iter().map(|word| letters(word)).sum();
            assert_eq!(of_words, letters(&whole), "{words:?} of {whole:?}");
            assert!(words.iter().all(|word| !word.is_empty()));
        }
        let escaped: String = text.chars().flat_map(|c| [escape, c]).collect();
        assert_eq!(expand(&escaped, escape, &nothing).as_deref(), Ok(text));
        let quoted = format!("'{}'", text.replace('\'', "\"'\"'\""));
        if !text.contains('\'') {
            assert_eq!(expand(&quoted, escape, &nothing).as_deref(), Ok(text));
        }
        assert_eq!(expand("$a", escape, &itself).as_deref(), Ok(text));
        assert_eq!(expand("${a:-}", escape, &itself).as_deref(), Ok(text));
        assert_eq!(expand("\"${a}\"", escape, &itself).as_deref(), Ok(text));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn seeds(target: &str, check: fn(&[u8])) {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for seed in fs::read_dir(all.join(target)).unwrap() {
            check(&fs::read(seed.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn seeds_of_all_targets() {
        seeds("dockerfile", dockerfile);
        seeds("ignore", ignore);
        seeds("expansion", expansion);
    }

    /// Every Dockerfile there is reads the same once it is printed.
    #[test]
    fn the_corpus_and_the_vectors() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut tried = 0;
        let mut folders = vec![
            root.join("corpus"),
            root.join("examples"),
            root.join("../shared/vectors/buildkit"),
        ];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name == "Dockerfile") {
                    dockerfile(&fs::read(&path).unwrap());
                    tried += 1;
                }
            }
        }
        assert!(tried > 150, "{tried}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(600))]

        #[test]
        fn anything_like_a_dockerfile(
            lines in proptest::collection::vec(
                "(RUN|COPY|ADD|ENV|ARG|LABEL|ONBUILD RUN|HEALTHCHECK CMD|EXPOSE|CMD|SHELL|VOLUME|USER|#) (--[a-z]{1,4}(=[a-z\"' \\\\]{0,4})? )?[-a-z0-9=$<>{}:,/\\\\\"'` \\[\\]ç]{0,16}",
                0..4,
            ),
            escape in proptest::bool::ANY,
        ) {
            let directive = if escape { "# escape=`\n" } else { "" };
            // One at a time, too, so that a wrong one does not hide the others.
            let whole = lines.join("\n");
            for line in lines.iter().chain([&whole]) {
                dockerfile(format!("{directive}FROM scratch\n{line}\n").as_bytes());
            }
        }

        #[test]
        fn words_of_instructions(
            run in "[ -~ç]{0,30}",
            copy in "(--(from|chown|exclude)=[!-~ ]{0,8} )?[!-~]{1,8} [!-~]{1,8}",
            env in "[a-z]{1,3}(=| )[ -~]{0,20}",
            mount in "(type=(cache|bind|secret|tmpfs),)?target=/[!-~]{0,8}(,(ro|id=[!-~]{0,6}|mode=[0-9]{1,4}))?",
            heredoc in "RUN (cat )?<<-?[\"']?[A-Z]{1,2}[\"']?\n[a-z\t\n$]{0,9}\nA",
        ) {
            for line in [
                format!("RUN {run}"),
                format!("COPY {copy}"),
                format!("ENV {env}"),
                format!("LABEL {env}"),
                format!("RUN --mount={mount} x"),
                heredoc.clone(),
                heredoc.replace("RUN", "COPY x") + " /y",
            ] {
                dockerfile(format!("FROM scratch\n{line}\n").as_bytes());
            }
        }

        #[test]
        fn rules_and_paths(
            rules in proptest::collection::vec("!?[/ab*?\\[\\]^.\\\\-]{1,8}", 1..4),
            paths in proptest::collection::vec("[ab]{1,2}(/[ab.]{1,3}){0,3}", 1..5),
        ) {
            ignore(format!("{}\n\n{}", rules.join("\n"), paths.join("\n")).as_bytes());
        }

        #[test]
        fn words(text in "[ -~ç]{0,24}", any: String) {
            expansion(text.as_bytes());
            expansion(any.as_bytes());
        }
    }
}
