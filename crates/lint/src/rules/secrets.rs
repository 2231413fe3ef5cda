//! Secrets in files, in the environment, in labels and in the history.

use std::collections::{BTreeMap, BTreeSet};

use crate::scan::{can_be_secret, has_secret_name, tokens, url_credentials};
use crate::stack::Stacked;
use crate::{Finding, Image, Level, Rule, Spot};

const FILE_HELP: &str = "give it to the step that needs it and to no layer: RUN --mount=type=secret,id=…; then replace the secret, because whoever has the image has it";
const CONFIG_HELP: &str = "give it to the step that needs it with RUN --mount=type=secret,id=…,env=NAME, or to the container when it starts; then replace the secret, because whoever has the image has it";

pub(crate) fn secrets(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    let mut findings = files(image, stacked);
    findings.extend(configuration(image));
    findings
}

/// Also in layers that a later one hides: they are shipped.
fn files(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    let hidden: BTreeMap<(usize, &[u8]), usize> = stacked
        .hidden
        .iter()
        .map(|one| ((one.layer, one.path), one.by))
        .collect();
    let mut groups: BTreeMap<(usize, Option<usize>), Vec<Spot>> = BTreeMap::new();
    for (at, layer) in image.own() {
        for (path, entry) in &layer.entries {
            let by = hidden.get(&(at, path.as_slice())).copied();
            for hit in &entry.hits {
                let mut spot = Spot::file(path, 0);
                spot.line = Some(hit.line);
                spot.note = Some(hit.what.to_owned());
                groups.entry((at, by)).or_default().push(spot);
            }
        }
    }
    let findings = groups.into_iter().map(|((layer, by), spots)| {
        let title = match by {
            None => "a secret in a file",
            Some(_) => {
                "a secret in a file that a later layer hides; everybody can read it in this one"
            }
        };
        let mut finding = Finding::new(Rule::SecretFile, title, FILE_HELP)
            .with(spots, false)
            .in_layer(layer);
        if let Some(by) = by {
            finding.level = Level::Deny;
            let instruction = image.layers[by].instruction.as_deref();
            finding.notes.push(format!(
                "layer {} hides it: {}",
                by + 1,
                instruction.unwrap_or("its instruction is not known")
            ));
        }
        finding
    });
    findings.collect()
}

fn configuration(image: &Image) -> Vec<Finding> {
    let mut spots = Vec::new();
    let mut add = |path: String, note: &str| {
        spots.push(Spot {
            path,
            bytes: 0,
            line: None,
            note: Some(note.to_owned()),
        });
    };
    let looks_secret = |value: &str| {
        tokens(value.as_bytes())
            .first()
            .map(|(_, what)| *what)
            .or_else(|| url_credentials(value).map(|_| "a password in a URL"))
    };
    for variable in &image.config.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        if let Some(what) = looks_secret(value) {
            add(format!("env:{name}"), what);
        } else if has_secret_name(name) && can_be_secret(value) {
            add(format!("env:{name}"), "its name says that it is a secret");
        }
    }
    for (name, value) in &image.config.labels {
        if let Some(what) = looks_secret(value) {
            add(format!("label:{name}"), what);
        }
    }
    let mut told = BTreeSet::new();
    for (at, line) in image.config.history.iter().enumerate() {
        // What ENV and LABEL set is told of above.
        let is_told = [
            "ENV ",
            "LABEL ",
            "/bin/sh -c #(nop) ENV",
            "/bin/sh -c #(nop)  ENV",
        ]
        .iter()
        .any(|start| line.starts_with(start));
        if is_told {
            continue;
        }
        let place = format!("history:{}", at + 1);
        if let Some(name) = secret_argument(line) {
            // An argument is in every step after its ARG.
            if !told.insert(name) {
                continue;
            }
            add(
                place,
                &format!("the build argument {name}, whose name says that it is a secret"),
            );
        } else if let Some(what) = looks_secret(line) {
            add(place, what);
        }
    }
    if spots.is_empty() {
        return Vec::new();
    }
    let title = "a secret in the configuration";
    vec![Finding::new(Rule::SecretConfig, title, CONFIG_HELP).with(spots, false)]
}

/// The build argument of a step whose name says that it is a secret: `|2 A=b C=d /bin/sh -c …`.
fn secret_argument(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("RUN ")
        .unwrap_or(line)
        .strip_prefix('|')?;
    let arguments = rest.split("/bin/sh -c ").next().unwrap_or(rest);
    arguments
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(name, value)| has_secret_name(name) && can_be_secret(value))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{file, image, removed, secret, told};

    #[test]
    fn a_secret_stays_in_the_layer_it_was_written_to() {
        let key = || secret("a private key");
        let image = image(
            1,
            &[
                &[("base.key", key())],
                &[("a.key", key()), ("b.key", key())],
                &[("b.key", removed()), ("c", file(1))],
            ],
        );
        let findings = secrets(&image, &Stacked::new(&image));
        assert_eq!(
            told(&findings),
            ["secret-file@1 0 0: /a.key", "secret-file@1 0 0: /b.key"]
        );
        assert_eq!(findings[1].notes, ["layer 3 hides it: RUN 2"]);
        assert_eq!(findings[0].spots[0].line, Some(3));
    }

    #[test]
    fn configurations_are_looked_through() {
        let token = format!("ghp_{}", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7aB3dE6gH9");
        let mut image = image(0, &[]);
        image.config.env = vec![
            "PATH=/usr/bin".into(),
            "GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568".into(),
            "DB_PASSWORD=hunter2".into(),
            "DB_PASSWORD_FILE=/run/secrets/db".into(),
            "EMPTY_TOKEN=".into(),
            "DATABASE_URL=postgres://app:hunter2@db/app".into(),
        ];
        image.config.labels = [
            ("source".into(), "https://host/repo".into()),
            ("build".into(), format!("token {token}")),
        ]
        .into();
        image.config.history = vec![
            "RUN |1 NPM_TOKEN=abcdefg /bin/sh -c npm ci # buildkit".into(),
            "RUN |1 VERSION=1.2.3 /bin/sh -c npm ci # buildkit".into(),
            "RUN |1 NPM_TOKEN=abcdefg /bin/sh -c npm ls # buildkit".into(),
            format!("RUN /bin/sh -c curl -H {token} https://host # buildkit"),
            "ENV DB_PASSWORD=hunter2".into(),
        ];
        let findings = secrets(&image, &Stacked::new(&image));
        let [finding] = &findings[..] else {
            panic!("{findings:?}");
        };
        let places: Vec<&str> = finding.spots.iter().map(|spot| &*spot.path).collect();
        assert_eq!(
            places,
            [
                "env:DATABASE_URL",
                "env:DB_PASSWORD",
                "history:1",
                "history:4",
                "label:build"
            ]
        );
        let whole = format!("{finding:?}");
        for value in ["hunter2", "abcdefg", &token] {
            assert!(!whole.contains(value), "{whole}");
        }
    }
}
