"""From source files to a verified dataset of records, and from there to batches.

Files are read by `idx`, `csv_text` and `npz_source`, and opened as examples by `idx_source`,
`csv_source`, `npz_source` and `folder_source`. `sources` opens all of these, `data_dirs` what a
data_dir is prepared from. `writer` writes examples as `records` and a `manifest`; `inputs` makes
batches of them. `known_datasets` has the datasets known by name, and `download` fetches them.

May import `compat`, `runtime` and `pictures`.
"""
