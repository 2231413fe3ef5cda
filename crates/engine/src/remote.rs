//! Sources of ADD that are not in the build context.

use launchway_diagnostics::Span;
use launchway_dockerfile::is_remote_source;
use launchway_model::Digest;

use crate::files::{CopyStep, Taken};
use crate::native::{Build, StageState};
use crate::problems::not_fetched;
use crate::{EngineError, codes, web};

impl Build<'_> {
    /// Fetches a source that is a file of the web.
    pub(crate) fn download(
        &self,
        state: &StageState<'_>,
        step: &CopyStep<'_>,
        word: String,
        span: Span,
    ) -> Result<Taken, EngineError> {
        let checksum = step
            .checksum
            .map(|text| checksum(&state.scope.expand(text)?, text.span))
            .transpose()?;
        let shown = web::shown(&word);
        if checksum.is_none() && !self.request.options.unpinned_urls {
            let message = format!("{shown} has no checksum");
            let label = "a family is made of what can be known before it is built";
            return Err(EngineError::at(codes::UNPINNED_URL, span, message, label)
                .help("add --checksum=sha256:…")
                .into());
        }
        let download = self
            .downloads
            .get(self.request.web, &word, checksum.as_ref())
            .map_err(|error| not_fetched(&shown, &error, span))?;
        Ok(Taken::Web {
            word,
            download,
            span,
        })
    }
}

fn checksum(text: &str, span: Span) -> Result<Digest, EngineError> {
    let digest = text.parse::<Digest>().ok();
    digest
        .filter(|digest| digest.to_string().starts_with("sha256:"))
        .ok_or_else(|| {
            let message = format!("`{text}` is not a checksum");
            EngineError::at(
                codes::BAD_WORD,
                span,
                message,
                "write sha256: and 64 digits from 0 to f",
            )
            .into()
        })
}

/// What the parser could not see because of variables in the word.
pub(crate) fn check_local(word: &str, span: Span, step: &CopyStep<'_>) -> Result<(), EngineError> {
    if let Some(checksum) = step.checksum {
        let label = format!("`{word}` is no such thing");
        return Err(EngineError::at(
            codes::BAD_WORD,
            checksum.span,
            "--checksum is for files of the web",
            label,
        )
        .into());
    }
    if step.from.is_some() || !is_remote_source(word) {
        return Ok(());
    }
    let message = format!("{} does not fetch `{word}`", step.word);
    let diagnostic = EngineError::at(
        codes::BAD_WORD,
        span,
        message,
        "this becomes a remote source",
    );
    Err(diagnostic
        .help("download it in a RUN step, or put the file into the context")
        .into())
}
