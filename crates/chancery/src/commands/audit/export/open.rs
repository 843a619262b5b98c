//! What an export needs open before it sends anything.

use std::path::Path;

use anyhow::{Context as _, Result};
use chancery_export::cursor::{Cursor, CursorFile};
use chancery_export::dead_letter::DeadLetters;
use chancery_export::sink::Sink;
use chancery_export::sink::file::FileSink;
use chancery_export::sink::http::{Form, Header, HttpSink};
use chancery_export::sink::stdout::StdoutSink;
use chancery_export::sink::syslog::SyslogSink;
use chancery_export::sink::target::Target;
use ureq::tls::TlsConfig;

use super::{Body, ExportArgs};
use crate::authorities::Authorities;

/// Sink, cursor and dead letters.
pub(super) struct Opened {
    pub(super) sink: Box<dyn Sink + Send>,
    pub(super) cursor_file: Option<CursorFile>,
    pub(super) cursor: Option<Cursor>,
    pub(super) dead_letters: Option<DeadLetters>,
}

impl Opened {
    pub(super) fn open(args: &ExportArgs) -> Result<Self> {
        let opened = args.cursor.as_deref().map(cursor).transpose()?;
        let (cursor_file, cursor) =
            opened.map_or((None, None), |(file, cursor)| (Some(file), cursor));
        let dead_letters = args.dead_letter.as_deref().map(|path| {
            DeadLetters::open(path).with_context(|| format!("cannot use `{}`", path.display()))
        });
        Ok(Self { sink: sink(args)?, cursor_file, cursor, dead_letters: dead_letters.transpose()? })
    }
}

fn cursor(path: &Path) -> Result<(CursorFile, Option<Cursor>)> {
    CursorFile::open(path).with_context(|| format!("`{}`", path.display()))
}

fn sink(args: &ExportArgs) -> Result<Box<dyn Sink + Send>> {
    let authorities = Authorities::load(args.ca.as_deref())?;
    let authorities = match (&args.client_cert, &args.client_key) {
        (Some(chain), Some(key)) => authorities.showing(chain, key)?,
        _ => authorities,
    };
    let by_http = (authorities.of_http(), args.timeout);
    Ok(match &args.to {
        Target::Stdout => Box::new(StdoutSink),
        Target::File(path) => {
            let file = FileSink::open(path.clone());
            Box::new(file.with_context(|| format!("cannot append to `{}`", path.display()))?)
        }
        Target::Http(url) => {
            let form = if args.body == Body::Array { Form::Array } else { Form::Lines };
            Box::new(http(args, (url, form), by_http)?)
        }
        Target::Otlp(url) => Box::new(http(args, (url, Form::Otlp), by_http)?),
        Target::Syslog { host, port } => {
            let sink = SyslogSink::new(host.clone(), *port, (authorities.client()?, args.timeout));
            Box::new(sink.context("TLS cannot be set up for the sink")?)
        }
    })
}

fn http(
    args: &ExportArgs,
    (url, form): (&str, Form),
    by_http: (TlsConfig, std::time::Duration),
) -> Result<HttpSink> {
    let headers = args
        .header_file
        .as_deref()
        .map(|path| Header::load(path).with_context(|| format!("`{}`", path.display())));
    let headers = headers.transpose()?.unwrap_or_default();
    Ok(HttpSink::new(url.into(), form, headers, by_http, env!("CARGO_PKG_VERSION").into()))
}
