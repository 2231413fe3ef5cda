//! `dockerfile build --lint`: what was built is judged before it goes anywhere.

use launchway_lint::{Policy, lint, to_json};
use launchway_oci::Store;
use launchway_release::single::{PackedImage, SingleImage};
use launchway_release::{Survey, survey};
use serde_json::{Value, json};

use super::Result;
use crate::commands::lint::{passed_over, told};
use crate::failure::{Exit, Failure};
use crate::report::text::clean;
use crate::settings::Settings;
use crate::show_lint::Style;
use crate::toolbox;

/// How wide a report on stderr is.
const COLUMNS: usize = 110;
/// How many paths of a finding are shown.
const PATHS: usize = 5;

/// What there is to say of what was built, and whether it may leave.
pub(super) struct Judged {
    /// For stderr, or as lines of JSON for stdout.
    pub(super) told: String,
    pub(super) verdict: Result,
}

impl Judged {
    /// Of a build that nobody wants judged.
    pub(super) fn nothing() -> Self {
        Self {
            told: String::new(),
            verdict: Ok(()),
        }
    }

    pub(super) fn tell(&self, settings: &Settings) {
        if settings.json {
            crate::commands::print(&self.told);
        } else {
            eprint!("{}", self.told);
        }
    }
}

/// Judges every platform by the usual rules. Blocks on the disk.
pub(super) fn judge(
    image: &SingleImage,
    packed: Option<&PackedImage>,
    store: &Store,
    settings: &Settings,
) -> Judged {
    let mut judged = Judged::nothing();
    let policy = Policy::default();
    let mut refused = Vec::new();
    let several = image.images().len() > 1;
    for (at, (platform, image)) in image.images().iter().enumerate() {
        let sizes = packed.map_or_else(
            || image.layers.iter().map(|layer| layer.size).collect(),
            |packed| packed.layer_sizes(at),
        );
        let surveyed = survey(
            store,
            &Survey {
                config: &image.config,
                layers: &image.layers,
                sizes: &sizes,
                inherited: Some(image.inherited),
                mounts: &[],
            },
        );
        let surveyed = match surveyed {
            Ok(surveyed) => surveyed,
            Err(error) => {
                judged.verdict = Err(Failure::caused("cannot read the image's layers", &error));
                return judged;
            }
        };
        let report = lint(&surveyed.image, &policy);
        if !report.is_passed() {
            refused.push(format!("{platform}: {}", clean(&report.why())));
        }
        if settings.json {
            let mut event = json!({
                "event": "linted",
                "time": toolbox::now(),
                "platform": platform.to_string(),
                "read": surveyed.read,
                "passed-over": surveyed.passed_over,
            });
            if let (Value::Object(all), Value::Object(more)) =
                (&mut event, to_json(&report, &policy))
            {
                all.extend(more);
            }
            judged.told.push_str(&format!("{event}\n"));
        } else {
            let style = Style {
                colour: settings.colour,
                columns: COLUMNS,
                paths: PATHS,
            };
            if several {
                let apart = if at == 0 { "" } else { "\n" };
                judged.told.push_str(&format!("{apart}{platform}\n\n"));
            }
            judged.told.push_str(&told(&report, &style));
            judged.told.push_str(&passed_over(&surveyed));
        }
    }
    if !refused.is_empty() {
        judged.verdict = Err(Failure::Message {
            message: format!("what was built does not pass: {}", refused.join("; ")),
            causes: Vec::new(),
            help: Some(
                "nothing was written or pushed; leave --lint out to have it all the same, or hold it to rules and \
                 budgets of your own with `launchway lint`"
                    .to_owned(),
            ),
            exit: Exit::Failed,
        });
    }
    judged
}
