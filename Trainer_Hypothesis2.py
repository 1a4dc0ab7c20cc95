"""Train Hypothesis 2: the U-Net of Hypothesis 1 on images that are augmented afresh each epoch."""

import os

import torch
from torch import nn

from common import cli, devices, plots, training
from common.augmentation import augment
from common.losses import HeatmapLoss
from common.models import UNet


@cli.reports_errors(resumable=True)
def main(argv=None):
    parser = cli.trainer_parser(
        __doc__,
        hypothesis=2,
        model_save_path="hypothesis_2_augmented_model.pth",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="fp32",
    )
    shows = "eight augmented versions of one training image"
    cli.add_picture(parser, "--augmentation_save_path", 2, "augmentation_examples", shows)
    args = parser.parse_args(argv)
    device = training.set_up(args)
    devices.make_repeatable(args.seed)  # before the network, whose first weights are drawn
    train_set, val_set = training.load_data(args, device)
    # A run that is resumed has drawn it already.
    if not (args.resume and os.path.exists(args.augmentation_save_path)):
        plots.augmentation_examples(train_set, augment, args.seed, args.augmentation_save_path)

    model = UNet()
    loss = HeatmapLoss(nn.MSELoss(), sigma=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", patience=5, factor=0.5
    )
    training.fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment=augment)
    print(f"Augmentation:    {args.augmentation_save_path}")


if __name__ == "__main__":
    main()
