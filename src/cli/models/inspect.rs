//! `vila2 models inspect`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{settings, size};
use crate::{
    cli::{Failure, output},
    config::Config,
    models::{
        EndpointSettings,
        describe::{ENDPOINT, files},
        endpoint::look,
        inspect::{Adapted, GraphFacts, InspectError, Inspected, TensorFacts, inspect},
    },
};

/// How long a server may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(config: &Config, model: &str, json: bool) -> Result<(), Failure> {
    let settings = settings(config, model)?;
    if let Some(endpoint) = &settings.endpoint {
        return server(&settings.name, endpoint, json);
    }
    let question = &config.stages.caption.prompts[0];
    let inspected = inspect(&settings, question).map_err(|error| {
        let advice = match error {
            InspectError::Folder(_) => "; `vila2 models pull` fetches it again, or another",
            InspectError::Prompt(_) | InspectError::Empty(_) => "",
        };
        Failure::Failed(format!("{error}{advice}"))
    })?;
    let bytes = files(&settings.path).iter().map(|(_, bytes)| bytes).sum();
    if json {
        let mut value =
            serde_json::to_value(&inspected).map_err(|error| Failure::Failed(error.to_string()))?;
        if let Value::Object(fields) = &mut value {
            let path = settings.path.display().to_string();
            fields.insert("path".to_owned(), json!(path));
            fields.insert("bytes".to_owned(), json!(bytes));
        }
        return output::json(&value);
    }
    let revision = match (&inspected.revision, &inspected.adapter) {
        (Some(revision), _) => format!(", revision {revision}"),
        (None, Adapted::Reads(_)) => {
            ", revision not told (its weights would have to be read; `vila2 models list` does)"
                .to_owned()
        }
        (None, Adapted::None(_)) => String::new(),
    };
    output::line(&format!(
        "{}: {}{revision}, {}",
        settings.path.display(),
        inspected.kind,
        size(bytes)
    ))?;
    print(&inspected)
}

/// There is nothing inside to be seen: what the server says.
fn server(name: &str, endpoint: &EndpointSettings, json: bool) -> Result<(), Failure> {
    let served = look(name, endpoint, endpoint.timeout.min(PATIENCE)).map_err(Failure::Failed)?;
    let (url, model) = (endpoint.shown(), &endpoint.model);
    let revision = served.revision(endpoint);
    if json {
        return output::json(&json!({
            "endpoint": url, "model": model, "type": ENDPOINT, "revision": revision,
            "serves": served.names, "concurrency": endpoint.concurrency,
        }));
    }
    let serves = match served.names.as_slice() {
        [] => "it does not say what it serves".to_owned(),
        names => format!("it serves {}", names.join(", ")),
    };
    output::line(&format!(
        "{model} at {url}: {ENDPOINT}, revision {revision}, {} questions at once; {serves}",
        endpoint.concurrency
    ))
}

fn print(inspected: &Inspected) -> Result<(), Failure> {
    let mut table = output::table(["graph", "", "tensor", "type", "shape"]);
    table.set_width(output::width());
    for graph in &inspected.graphs {
        let tensors = [("in", &graph.inputs), ("out", &graph.outputs)];
        let mut first = Some(title(graph));
        for (way, tensors) in tensors {
            for (name, tensor) in gathered(tensors) {
                table.add_row([
                    first.take().unwrap_or_default(),
                    way.to_owned(),
                    name,
                    tensor.element.clone(),
                    format!("[{}]", tensor.shape.join(", ")),
                ]);
            }
        }
    }
    output::line(&table.to_string())?;
    if let Some(cache) = &inspected.cache {
        let bytes = cache.bytes_per_token.map_or_else(
            || "?".to_owned(),
            |bytes| format!("{} a token of each sequence", size(bytes)),
        );
        output::line(&format!(
            "cache: {} layers of key and value, {} [{}], {bytes}",
            cache.layers,
            cache.element,
            cache.shape.join(", ")
        ))?;
    }
    match &inspected.adapter {
        Adapted::Reads(adapter) => output::line(&format!("read by the adapter `{adapter}`"))?,
        Adapted::None(why) => output::line(&format!("not read: {why}"))?,
    }
    let Some(folder) = &inspected.folder else {
        return Ok(());
    };
    let edge = folder.longest_edge.map_or_else(
        || "as they are".to_owned(),
        |edge| format!("scaled to a longest side of {edge}"),
    );
    let cut = if folder.splitting {
        "cut into tiles"
    } else {
        "one tile"
    };
    let variants: Vec<String> = (folder.variants.iter())
        .map(|(graph, variant)| format!("{graph} {variant}"))
        .collect();
    output::line(&format!(
        "variants: {}; batches padded on the {}\ntokenizer: {} entries\npictures: {edge}, {cut} of \
         {} × {} pixels, at most {} of them\ngeneration: {}, at most {} positions, ends at {:?}, repetition penalty {}, no repeated run of {}\nprompt ({} \
         tokens about a picture of 640 × 480):\n{}",
        variants.join(", "),
        folder.padding,
        folder.tokenizer,
        folder.tile,
        folder.tile,
        folder.most_tiles,
        match folder.beams {
            1 => "greedy".to_owned(),
            beams => format!("{beams} beams"),
        },
        folder.longest,
        folder.stop_tokens,
        folder.repetition_penalty,
        match folder.no_repeat_ngram_size {
            0 => "any length (off)".to_owned(),
            size => format!("{size} tokens"),
        },
        folder.prompt_tokens,
        folder.prompt
    ))
}

/// A graph's file with its sizes, its variants and what not every runtime has.
fn title(graph: &GraphFacts) -> String {
    let mut lines = vec![graph.file.clone(), size(graph.bytes)];
    if graph.external_bytes > 0 {
        lines.push(format!("and {} beside it", size(graph.external_bytes)));
    }
    if graph.variants.len() > 1 {
        lines.push(format!("variants: {}", graph.variants.join(", ")));
    }
    let operators = graph.operators.iter();
    lines.extend(operators.map(|(operator, count)| format!("{count} × {operator}")));
    lines.join("\n")
}

/// The tensors, those of a cache gathered into one line: they differ in their number alone.
fn gathered(tensors: &[TensorFacts]) -> Vec<(String, &TensorFacts)> {
    let mut lines: Vec<(String, &TensorFacts)> = Vec::new();
    for tensor in tensors {
        let parts: Vec<_> = tensor.name.split('.').collect();
        let name = match parts[..] {
            [cache @ ("past_key_values" | "present"), _, _] => format!("{cache}.*"),
            [cache @ ("past_key_values" | "present"), _, side, _] => format!("{cache}.*.{side}.*"),
            _ => tensor.name.clone(),
        };
        let known =
            |(known, of): &(String, &TensorFacts)| *known == name && of.element == tensor.element;
        if !lines.iter().any(known) {
            lines.push((name, tensor));
        }
    }
    lines
}
