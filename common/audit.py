"""Measure the annotations of a data set: which are plausible, and how far from a second reader.

    python -m common.audit --csv_path ground_truth.csv --image_folder_path images

No model is involved: what is found here is the data's part in any error.
"""

from __future__ import annotations

from common import ground_truth
from common.annotation_quality.audit_picture import draw_audit
from common.annotation_quality.audit_table import audit_table, audited_groups, describe_audit
from common.annotation_quality.second_reader import (
    describe_readers,
    read_second_reader,
    reader_columns,
)
from common.basics.arguments import PICTURES, Parser, add_data_arguments, ending_in
from common.basics.errors import reports_errors
from common.basics.files import check_outputs, write_table
from common.images import load_images


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Print the summary; write the table and the picture where they are asked for."""
    parser = Parser("Measure the annotations of a data set: which of them are plausible?")
    add_data_arguments(parser)
    add = parser.add_argument
    add("--second_csv_path", help="another reader's landmarks, to be compared")
    add("--csv_save_path", type=ending_in(".csv"), help="table of all measures")
    add("--plot_save_path", type=ending_in(*PICTURES), help="picture of the measures")
    args = parser.parse_args(argv)
    check_outputs(args)
    table = ground_truth.read_ground_truth(args.csv_path)
    data = load_images(table, args.image_folder_path)
    second = None
    if args.second_csv_path:
        second = read_second_reader(args.second_csv_path, data)
    splits = {"all": table}
    if len(table) >= ground_truth.MIN_ROWS:
        splits = ground_truth.split_ground_truth(table)
    measures = audit_table(table, splits)
    texts, written = [describe_audit(measures, table, splits)], []
    if second is not None:
        measures = measures.join(reader_columns(second, data))
        texts.append(describe_readers(measures, audited_groups(measures)))
    if args.csv_save_path:  # before anything is printed: a reader may leave (`| head`)
        write_table(measures, args.csv_save_path)
        written.append(f"Table:   {args.csv_save_path}")
    if args.plot_save_path and measures["plausible"].isna().all():
        written.append("Picture: not drawn, as no image has all four landmarks")
    elif args.plot_save_path:
        draw_audit(measures, data, args.plot_save_path)
        written.append(f"Picture: {args.plot_save_path}")
    print("\n\n".join(filter(None, [*texts, "\n".join(written)])))


if __name__ == "__main__":
    main()
