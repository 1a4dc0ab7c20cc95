"""Train Hypothesis 3: a ResNet-34 U-Net with attention, Adaptive Wing loss, mixed precision."""

import torch

from common import cli, training
from common.augmentation import augment
from common.losses import AdaptiveWingLoss
from common.models import ResNetUNet


@cli.reports_errors(resumable=True)
def main(argv=None):
    parser = cli.trainer_parser(
        __doc__,
        model_save_path="hypothesis_3_resnet_unet.pth",
        plot_save_path="hypothesis_3_training_curves.png",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="auto",
    )
    parser.add_argument(
        "--weight_decay", type=cli.natural_float, default=1e-4, help="weight decay of AdamW"
    )
    parser.add_argument(
        "--warmup_epochs", type=cli.natural_number, default=5, help="epochs of linear warm-up"
    )
    parser.add_argument(
        "--encoder_weights",
        metavar="imagenet|none|PATH",
        default="imagenet",
        help="where the encoder starts from; PATH is a file with torchvision's ResNet-34 weights",
    )
    parser.add_argument(
        "--augment",
        action="store_true",
        help="augment the training images as Hypothesis 2 does; the report's next step",
    )
    args = parser.parse_args(argv)
    device, train_set, val_set = cli.start_training(args)

    encoder_weights = None if args.encoder_weights == "none" else args.encoder_weights
    model = ResNetUNet(encoder_weights).to(device)
    cli.announce(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    scheduler = training.warmup_cosine(optimizer, args.epochs, args.warmup_epochs, final_lr=1e-6)
    training.fit(
        model,
        AdaptiveWingLoss(omega=14, theta=0.5, epsilon=1, alpha=2.1),
        optimizer,
        scheduler,
        train_set,
        val_set,
        plot_learning_rate=True,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        precision=args.precision,
        model_save_path=args.model_save_path,
        plot_save_path=args.plot_save_path,
        settings={"hypothesis": 3, **vars(args)},
        resume=args.resume,
        checkpoint_seconds=args.checkpoint_seconds,
        augment=augment if args.augment else None,
    )


if __name__ == "__main__":
    main()
