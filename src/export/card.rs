//! `README.md` of an export: how it is read. Its head is for `datasets`, which would otherwise take
//! the tables beside the tars, or the sidecars, for the data.

use std::path::Path;

use super::{Error, Format, Request, Text, files};

/// How tars whose pictures lie elsewhere are joined with them.
const JOIN: &str = "\
These are texts under the keys of the tars that hold the pictures (`IMAGES` here). They are joined by a
file `both.yaml`:

```
__module__: megatron.energon
__class__: MetadatasetV2
splits:
  train:
    join:
      - path: TEXTS
        dataset_config: join.yaml
      - path: IMAGES
    joiner: {__module__: megatron.energon, __class__: CaptioningSample}
```

```
energon prepare --non-interactive --split-ratio 1,0,0 TEXTS
energon prepare --non-interactive --split-ratio 1,0,0 --sample-type ImageSample --field-map '{\"image\": \"jpg\"}' IMAGES
energon prepare both.yaml
```
";

/// Writes it.
pub(super) fn write(out: &Path, request: &Request) -> Result<(), Error> {
    files::write(&out.join("README.md"), text(request).as_bytes())
}

fn text(request: &Request) -> String {
    let (files, how) = match request.format {
        Format::Webdataset => (
            "*.tar",
            "`webdataset.WebDataset(\"00000.tar\")`, or `datasets.load_dataset(\"THIS FOLDER\")`; beside each \
             tar is a table of its samples, as img2dataset writes it.\n"
                .to_owned(),
        ),
        Format::Vila => (
            "*.tar",
            "VILA and NVILA: a `VILA-WebDataset` whose `caption_choice` is the folder `recaption`; the \
             `.txt` in the tars is the original text.\n"
                .to_owned(),
        ),
        Format::Llava => (
            "data.json",
            "LLaVA: `data.json` and the folder `images`; LLaMA-Factory: `dataset_info.json` names it \
             `vila2`.\n"
                .to_owned(),
        ),
        Format::Energon if request.images => {
            let sample = if request.text == Text::Qa {
                "VQASample"
            } else {
                "CaptioningSample"
            };
            let how = format!(
                "`energon prepare --non-interactive --split-ratio 1,0,0 THIS_FOLDER`, then Megatron Energon \
                 reads `{sample}`.\n"
            );
            ("*.tar", how)
        }
        Format::Energon => ("*.tar", JOIN.to_owned()),
        Format::Hf => (
            "data/*.parquet",
            "`datasets.load_dataset(\"THIS FOLDER\")`. `conversations` has the turns of LLaVA: `from` is \
             `human` or `gpt`, and the first question begins with `<image>`.\n"
                .to_owned(),
        ),
    };
    format!(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: \"{files}\"\n---\n\n\
         Captions exported by vila2 as `{}`, text `{}`.\n\n{how}",
        request.format.name(),
        request.text(),
    )
}
