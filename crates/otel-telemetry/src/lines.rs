//! Lines on stderr: one event, one line, one write.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::fields::FieldValue;
use crate::settings::LogFormat;

/// Where a finished line goes, its newline included.
pub(crate) type LineSink = Box<dyn Fn(&str) + Send + Sync>;

/// Writes lines in one format.
pub(crate) struct Output {
    format: LogFormat,
    sink: LineSink,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("format", &self.format)
            .finish()
    }
}

impl Output {
    pub(crate) fn new(format: LogFormat, sink: LineSink) -> Self {
        Self { format, sink }
    }

    pub(crate) fn stderr(format: LogFormat) -> Self {
        Self::new(
            format,
            Box::new(|line| {
                // One write a line, so that lines of several processes do not mix. If stderr is
                // gone there is nobody to tell.
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }),
        )
    }

    /// A warning of telemetry about itself, past the layers.
    pub(crate) fn notice(&self, message: &str) {
        self.line(Level::WARN, "otel_telemetry", message, &[], None);
    }

    /// `trace`: trace id and span id.
    pub(crate) fn line(
        &self,
        level: Level,
        target: &str,
        message: &str,
        fields: &[(&'static str, FieldValue)],
        trace: Option<(String, String)>,
    ) {
        let mut line = String::with_capacity(256);
        // Writing to a `String` cannot fail.
        let _ = match self.format {
            LogFormat::Json => json(&mut line, level, target, message, fields, trace),
            LogFormat::Text => text(&mut line, level, target, message, fields, trace),
        };
        (self.sink)(&line);
    }
}

fn json(
    line: &mut String,
    level: Level,
    target: &str,
    message: &str,
    fields: &[(&'static str, FieldValue)],
    trace: Option<(String, String)>,
) -> fmt::Result {
    line.push_str("{\"timestamp\":\"");
    SystemTime.format_time(&mut Writer::new(line))?;
    write!(line, "\",\"level\":\"{level}\",\"target\":")?;
    json_string(line, target)?;
    line.push_str(",\"message\":");
    json_string(line, message)?;
    for (key, value) in fields {
        line.push(',');
        json_string(line, key)?;
        line.push(':');
        match value {
            FieldValue::Int(value) => write!(line, "{value}")?,
            FieldValue::Float(value) if value.is_finite() => write!(line, "{value}")?,
            FieldValue::Float(_) => line.push_str("null"),
            FieldValue::Text(value) => json_string(line, value)?,
        }
    }
    if let Some((trace_id, span_id)) = trace {
        write!(line, ",\"traceId\":\"{trace_id}\",\"spanId\":\"{span_id}\"")?;
    }
    line.push_str("}\n");
    Ok(())
}

/// RFC 8259 section 7.
fn json_string(line: &mut String, text: &str) -> fmt::Result {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            c if c.is_control() => write!(line, "\\u{:04x}", u32::from(c))?,
            c => line.push(c),
        }
    }
    line.push('"');
    Ok(())
}

fn text(
    line: &mut String,
    level: Level,
    target: &str,
    message: &str,
    fields: &[(&'static str, FieldValue)],
    trace: Option<(String, String)>,
) -> fmt::Result {
    SystemTime.format_time(&mut Writer::new(line))?;
    write!(line, " {level:>5} {target}: ")?;
    visible(line, message);
    for (key, value) in fields {
        write!(line, " {key}=")?;
        match value {
            FieldValue::Int(value) => write!(line, "{value}")?,
            FieldValue::Float(value) => write!(line, "{value}")?,
            FieldValue::Text(value) => visible(line, value),
        }
    }
    if let Some((trace_id, _)) = trace {
        write!(line, " traceId={trace_id}")?;
    }
    line.push('\n');
    Ok(())
}

/// Control characters are spelled out: a line break would forge a line, an escape sequence would
/// command the terminal.
fn visible(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn line(format: LogFormat, message: &str) -> String {
        let written = Arc::new(std::sync::Mutex::new(String::new()));
        let kept = Arc::clone(&written);
        let output = Output::new(
            format,
            Box::new(move |line| kept.lock().unwrap().push_str(line)),
        );
        let fields = [
            ("count", FieldValue::Int(3)),
            ("error", FieldValue::Text("a\"b".to_owned())),
            ("duration_ms", FieldValue::Float(f64::NAN)),
        ];
        output.line(Level::INFO, "contacts", message, &fields, None);
        written.lock().unwrap().clone()
    }

    #[test]
    fn a_json_line_is_one_object_with_typed_values() {
        let line = line(LogFormat::Json, "tab\t, line\n, é, \u{1b}[31m");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], "tab\t, line\n, é, \u{1b}[31m");
        assert_eq!(object["count"], 3);
        assert_eq!(object["error"], "a\"b");
        assert_eq!(object["duration_ms"], serde_json::Value::Null);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\u{1b}'));
    }

    #[test]
    fn a_text_line_cannot_be_forged_from_within() {
        let line = line(LogFormat::Text, "first\nsecond \u{1b}[31m");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.contains("first\\nsecond \\u{1b}[31m count=3"),
            "{line}"
        );
    }
}
