import sys

from tools.suspects_study.page import main

if __name__ == "__main__":
    sys.exit(main())
