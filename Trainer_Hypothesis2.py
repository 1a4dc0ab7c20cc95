"""Train Hypothesis 2: the U-Net of Hypothesis 1 on images that are augmented afresh each epoch."""

import os

import torch
from torch import nn

from common import cli, plots, training
from common.augmentation import augment
from common.models import UNet


@cli.reports_errors(resumable=True)
def main(argv=None):
    parser = cli.trainer_parser(
        __doc__,
        model_save_path="hypothesis_2_augmented_model.pth",
        plot_save_path="hypothesis_2_training_curves.png",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="fp32",
    )
    parser.add_argument(
        "--augmentation_save_path",
        default="hypothesis_2_augmentation_examples.png",
        help="picture of eight augmented versions of one training image",
    )
    args = parser.parse_args(argv)
    device, train_set, val_set = cli.start_training(args, args.augmentation_save_path)

    checkpoint_path = training.checkpoint_path_of(args.model_save_path)
    if not (args.resume and os.path.exists(checkpoint_path)):  # a resumed run has drawn them
        generator = torch.Generator(device).manual_seed(args.seed)
        first_image_eight_times = train_set.batch(torch.zeros(8, dtype=torch.long, device=device))
        plots.augmentation_examples(
            *augment(*first_image_eight_times, generator), args.augmentation_save_path
        )

    model = UNet().to(device)
    cli.announce(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", patience=5, factor=0.5
    )
    training.fit(
        model,
        nn.MSELoss(),
        optimizer,
        scheduler,
        train_set,
        val_set,
        augment=augment,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        precision=args.precision,
        model_save_path=args.model_save_path,
        plot_save_path=args.plot_save_path,
        settings={"hypothesis": 2, **vars(args)},
        epochs_may_change=True,
        resume=args.resume,
        checkpoint_seconds=args.checkpoint_seconds,
    )
    print(f"Augmentation:    {args.augmentation_save_path}")


if __name__ == "__main__":
    main()
