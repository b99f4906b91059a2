"""What was released: commits, trees and objects, with one reader per source."""
