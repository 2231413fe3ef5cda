//! What the outputs of one build have to agree on, and where it is pushed.

use launchway_engine::BuildOptions;
use launchway_model::Reference;
use launchway_oci::Compression;
use launchway_release::Packing;
use launchway_release::single::PushTo;

use super::Result;
use super::output::{Output, Target};
use crate::failure::Failure;
use crate::toolbox;

/// Where to push to: the names of the outputs that push, or else those of --tag.
pub(super) fn pushed(flag: bool, outputs: &[Output], tags: &[Reference]) -> Result<Vec<PushTo>> {
    let mut wanted = Vec::new();
    let mut pushes = flag;
    let mut want = |names: &[Reference], by_digest: bool| {
        wanted.extend(names.iter().map(|reference| PushTo {
            reference: reference.clone(),
            by_digest,
        }));
    };
    if flag {
        want(tags, false);
    }
    for output in outputs {
        if let Target::Image {
            names,
            push: true,
            by_digest,
        } = &output.to
        {
            pushes = true;
            want(if names.is_empty() { tags } else { names }, *by_digest);
        }
    }
    if let Some(place) = wanted
        .iter()
        .find(|place| place.by_digest && place.reference.tag.is_some())
    {
        return Err(Failure::usage(
            format!(
                "push-by-digest writes no tag, and {} has one",
                place.reference
            ),
            "leave the tag out of --tag, or push-by-digest out of --output",
        ));
    }
    if pushes && wanted.is_empty() {
        let who = if flag {
            "--push"
        } else {
            "an output that pushes"
        };
        return Err(Failure::usage(
            format!("{who} needs a name to push to"),
            "give one with --tag, or with name=REFERENCE in --output",
        ));
    }
    let mut once = Vec::new();
    for name in wanted {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    Ok(once)
}

/// The names that other programs are told, in full as Docker has them: where it was pushed, or else those of
/// --tag, or else those of single outputs. Under a digest alone it has no tag.
pub(super) fn names(pushed: &[PushTo], tags: &[Reference], outputs: &[Output]) -> Vec<String> {
    if !pushed.is_empty() {
        let names = pushed.iter().map(|place| match place.by_digest {
            true => place.reference.to_string(),
            false => toolbox::image_name(&place.reference),
        });
        return names.collect();
    }
    let own = outputs.iter().flat_map(|output| match &output.to {
        Target::Image { names, .. }
        | Target::Archive { names, .. }
        | Target::Layout { names, .. } => names.as_slice(),
        Target::Tar { .. } | Target::Local { .. } | Target::CacheOnly => &[],
    });
    let mut found = Vec::new();
    let wanted: Vec<&Reference> = match tags {
        [] => own.collect(),
        tags => tags.iter().collect(),
    };
    for name in wanted.into_iter().map(toolbox::image_name) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// The one compression of the layers: outputs may name it, and have to agree.
pub(super) fn packing(flag: &str, outputs: &[Output]) -> Result<Packing> {
    let mut named = outputs.iter().filter_map(|output| output.compression);
    let default = match flag {
        "zstd" => Compression::Zstd,
        "uncompressed" => Compression::Uncompressed,
        _ => Compression::Gzip,
    };
    let first = named.next().unwrap_or(default);
    if named.any(|other| other != first) {
        return Err(Failure::usage(
            "the outputs ask for different compressions",
            "build once for each; the second build takes its steps from the cache",
        ));
    }
    Ok(Packing {
        compression: first,
        force: outputs.iter().any(|output| output.force_compression),
    })
}

/// `rewrite-timestamp` of the outputs: on is what an epoch means here anyway, off leaves file times
/// in layers alone. Without an epoch there is nothing to write, as in BuildKit, and `told` says so.
pub(super) fn rewrite_timestamps(
    outputs: &[Output],
    options: &mut BuildOptions,
    told: &mut Vec<String>,
) -> Result {
    let mut asked = outputs.iter().filter_map(|output| output.rewrite_timestamp);
    let Some(rewrite) = asked.next() else {
        return Ok(());
    };
    if asked.any(|other| other != rewrite) {
        return Err(Failure::usage(
            "the outputs disagree about rewrite-timestamp",
            "build once for each",
        ));
    }
    if rewrite && options.epoch.is_none() {
        told.push(
            "rewrite-timestamp=true has no time to write: set SOURCE_DATE_EPOCH, in the environment or as a build \
             argument"
                .to_owned(),
        );
    }
    if !rewrite {
        options.epoch = None;
        options.epoch_is_asked = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dockerfile::output::parse;

    #[test]
    fn names_are_told_in_full() {
        let reference = |text: &str| -> Reference { text.parse().expect("a name") };
        let output = |text: &str| match parse(text) {
            Ok(output) => output,
            Err(_) => panic!("{text}"),
        };
        let outputs = [
            output("type=oci,dest=x,name=own"),
            output("type=image,name=own"),
            output("type=image,name=h.example/more:2"),
        ];
        assert_eq!(names(&[], &[], &[]), Vec::<String>::new());
        assert_eq!(
            names(&[], &[], &outputs),
            ["docker.io/library/own:latest", "h.example/more:2"]
        );
        let tags = [reference("a"), reference("b:1")];
        assert_eq!(
            names(&[], &tags, &outputs),
            ["docker.io/library/a:latest", "docker.io/library/b:1"]
        );
        let pushed = [false, true].map(|by_digest| PushTo {
            reference: reference("h.example/c"),
            by_digest,
        });
        assert_eq!(
            names(&pushed, &tags, &outputs),
            ["h.example/c:latest", "h.example/c"]
        );
    }
}
